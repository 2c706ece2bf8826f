"""Shows a job from the files in its folder: in a terminal, or as a small page; reads only."""
