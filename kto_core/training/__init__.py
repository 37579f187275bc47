"""Training: objectives, SFT, KTO and pairs on one step loop."""
