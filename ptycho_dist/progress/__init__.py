"""How far a job is: stages, rates, time left; told on a terminal, in the log and in a file for each rank."""
