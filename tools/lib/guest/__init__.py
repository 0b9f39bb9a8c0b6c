"""What mkguest is made of: seeded files, disks with filesystems, and the changes of a next day."""
