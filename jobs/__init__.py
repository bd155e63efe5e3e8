"""Photo folders: what turns a folder and a workflow into work for the host."""
