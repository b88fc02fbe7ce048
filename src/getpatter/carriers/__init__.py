"""Phone companies, one file each."""
