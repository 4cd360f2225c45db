"""The U²-Net, its weights and their forms; networks from elsewhere."""
