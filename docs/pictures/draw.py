"""Draw the networks of docs/images.md: python docs/pictures/draw.py."""

from pathlib import Path

import equiprop as eq

NETWORKS = {
    "convolutional28": eq.networks.convolutional28,
    "dchn32": eq.networks.dchn32,
    "vgg5": eq.networks.vgg5,
    "hopfield_resnet": eq.networks.hopfield_resnet,
    "chain_of_images": lambda: eq.networks.chain_of_images((1, 8, 8), [8, 16], 10, kernel=3, padding=1),
}

if __name__ == "__main__":
    for name, network in NETWORKS.items():
        eq.plotting.save(eq.plotting.graph(network()), Path(__file__).with_name(f"{name}.svg"))
