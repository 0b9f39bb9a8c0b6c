"""What tools/compare is made of: measuring, the tools that are compared, the steps, and the report."""
