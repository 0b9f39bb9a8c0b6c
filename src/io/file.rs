//! A file or block device behind the positional traits.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt};

use super::{ReadAt, WriteAt, sys};

/// An open file or block device of the size that it had when it was opened.
#[derive(Debug)]
pub struct FileAt {
    file: File,
    size_bytes: u64,
    block_device: bool,
}

impl FileAt {
    /// Takes an open regular file or block device.
    ///
    /// # Errors
    /// What the system says when asked for the size; `InvalidInput` for anything but a file or block device.
    pub fn new(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let block_device = metadata.file_type().is_block_device();
        if !block_device && !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is neither a regular file nor a block device"));
        }
        let size_bytes = if block_device { sys::block_device_bytes(&file)? } else { metadata.len() };
        Ok(Self { file, size_bytes, block_device })
    }

    /// The file itself.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Whether it is a block device.
    pub fn is_block_device(&self) -> bool {
        self.block_device
    }
}

impl ReadAt for FileAt {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset_bytes)
    }
}

impl WriteAt for FileAt {
    fn write_at(&self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset_bytes)
    }

    fn zero_at(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
        match sys::punch_hole(&self.file, offset_bytes, length_bytes) {
            // Filesystems and devices that cannot deallocate are told to write the zeros.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::ENODEV | libc::EINVAL)) => {
                let zeros = vec![0_u8; length_bytes.min(1 << 20) as usize];
                let mut done = 0;
                while done < length_bytes {
                    let part = (length_bytes - done).min(zeros.len() as u64);
                    self.file.write_all_at(&zeros[..part as usize], offset_bytes + done)?;
                    done += part;
                }
                Ok(())
            }
            other => other,
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_in_place_and_zeroes_a_range() -> io::Result<()> {
        let file = tempfile::tempfile()?;
        file.set_len(3 << 20)?;
        let at = FileAt::new(file)?;
        at.write_at(4096, &[7; 2 << 20])?;
        at.zero_at(8192, 1_500_000)?;
        let mut all = vec![1; 3 << 20];
        at.read_at(0, &mut all)?;
        let expected = |offset: usize| {
            let written = (4096..4096 + (2 << 20)).contains(&offset) && !(8192..8192 + 1_500_000).contains(&offset);
            if written { 7 } else { 0 }
        };
        assert!(all.iter().enumerate().all(|(offset, &byte)| byte == expected(offset)));
        assert_eq!(at.size_bytes(), 3 << 20);
        Ok(())
    }

    #[test]
    fn a_read_past_the_end_says_so() -> io::Result<()> {
        let at = FileAt::new(tempfile::tempfile()?)?;
        assert_eq!(at.read_at(0, &mut [0; 1]).map_err(|error| error.kind()), Err(io::ErrorKind::UnexpectedEof));
        Ok(())
    }

    #[test]
    fn a_directory_is_refused() -> io::Result<()> {
        let refused = FileAt::new(File::open("/")?).map(|_| ()).map_err(|error| error.kind());
        assert_eq!(refused, Err(io::ErrorKind::InvalidInput));
        Ok(())
    }
}
