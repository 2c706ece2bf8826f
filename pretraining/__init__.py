"""Makes the network that ships with the package: trained on simulated groups of patterns alone, no two the same."""
