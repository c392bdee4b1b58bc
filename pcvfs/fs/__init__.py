"""One mounted volume in one process. The only room that imports pyfuse3."""
