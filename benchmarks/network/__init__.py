"""When the network pays: matrices of simulated scans, a table of known ones, and the Siemens star."""
