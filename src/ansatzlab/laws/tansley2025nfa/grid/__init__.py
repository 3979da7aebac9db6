"""The ansatz across optimisers, decay rates, initialisations and depths, each cell beside what theory predicts."""
