"""A virtual machine with a fake camera (vivid) and a virtual one (v4l2loopback); `make vmtest`."""
