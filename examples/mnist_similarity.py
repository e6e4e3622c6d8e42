# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Image similarity on MNIST, from pairs
#
# Two images go through one network, and the cosine of what comes out says how alike they are. This notebook shows the
# whole way with pairsim: the data, the pairs, the network, training, what the model is worth on images that it has not
# seen, and how to use it.
#
# In every pair, **target 1 means same class and 0 means different**.
#
# `DATA = "digits"` needs neither a download nor minutes. For MNIST without a network, put torchvision's files in a
# folder and name it with the variable `PAIRSIM_DATA`.

# %%
import os
from pathlib import Path

import torch

from pairsim import EmbeddingNet, Gallery, PairDataset, SimilarityModel, TrainConfig, Trainer, calibrate, evaluate
from pairsim.data import load_data
from pairsim.encoding.datasets import encode_dataset
from pairsim.evaluation import Logistic, all_pair_scores
from pairsim.visual import (
    draw_class_ranking,
    draw_class_similarity,
    draw_confusing_pairs,
    draw_det,
    draw_embedding_map,
    draw_embedding_net,
    draw_neighbors,
    draw_pairs,
    draw_reliability,
    draw_score_histogram,
    draw_similarity_model,
    draw_training_curves,
    pair_table,
)

# %matplotlib inline

DATA = os.environ.get("PAIRSIM_NOTEBOOK_DATA", "mnist")
EPOCHS = int(os.environ.get("PAIRSIM_NOTEBOOK_EPOCHS", "2"))
OUT = Path("runs") / f"notebook-{DATA}"

# %% [markdown]
# ## Data
#
# Training images, of which the trainer keeps a tenth for validation, and test images, which are used once, at the end.
# Pixels stay uint8; the model normalises them itself.

# %%
train, test = load_data(DATA, "train"), load_data(DATA, "test")
print(f"{len(train.dataset):,} images to train on, {len(test.dataset):,} to test on, {train.image_size} pixels")

# %% [markdown]
# ## Pairs
#
# A `PairDataset` draws pairs from any labelled dataset without decoding images for their labels. Half of the pairs are
# of one class, exactly; an image is never paired with itself; pair k depends on the seed, the epoch and k alone.

# %%
pairs = PairDataset(test.dataset, num_pairs=1000, seed=0)
drawn = pairs.all_pairs()
shown = slice(0, 8)
images = test.dataset.images
first, second = images[torch.from_numpy(drawn.first)], images[torch.from_numpy(drawn.second)]
draw_pairs(first[shown], second[shown], drawn.target[shown], title="Pairs and their targets")

# %%
pair_table(pairs, count=6)

# %% [markdown]
# ## The network
#
# The embedding net maps an image to 128 numbers of length 1. Any module that gives features can take its place:
# `EmbeddingNet("resnet18")`, or one of your own.

# %%
model = SimilarityModel(EmbeddingNet(in_channels=train.channels, image_size=train.image_size))
draw_embedding_net(model.embedding_net)

# %% [markdown]
# Both images go through the same net. The similarity is the cosine of their embeddings, and a line and a sigmoid turn
# it into a probability.

# %%
draw_similarity_model(model, first[0], second[0])

# %% [markdown]
# ## Training
#
# The objective `"all-pairs"` compares every pair inside a batch, so that a batch of 128 images is 8,128 pairs for 128
# forward passes. `objective="pairs"` trains on drawn pairs, two forward passes each. The model that is kept is the best
# on validation pairs.

# %%
config = TrainConfig(epochs=EPOCHS, out=OUT, seed=0)
trainer = Trainer(model, config, train=train.dataset)
for record in trainer.epochs(resume="never"):
    print(
        f"epoch {record.epoch}: loss {record.train_loss:.4f}, on validation pairs {record.val_loss:.4f}, "
        f"balanced accuracy {record.val_balanced_accuracy:.4f}, {trainer.history.seconds[-1]:.0f} s"
    )

# %%
draw_training_curves(trainer.history)

# %% [markdown]
# ## What it is worth
#
# All pairs of the test images, with intervals that respect that pairs share images.

# %%
report = evaluate(model, test.dataset)
print(report)

# %%
embeddings = encode_dataset(model, test.dataset)
scores = all_pair_scores(embeddings, test.dataset.targets)
draw_score_histogram(scores, threshold=model.threshold, log=True)

# %%
draw_det(scores, threshold=model.threshold, intervals=report.intervals)

# %% [markdown]
# Where are the classes alike, and which pairs does the model get most wrong?

# %%
draw_class_similarity(embeddings, test.dataset.targets, names=test.class_names)

# %%
draw_confusing_pairs(test.dataset, embeddings, model.threshold, names=test.class_names)

# %%
draw_embedding_map(embeddings, test.dataset.targets, names=test.class_names)

# %% [markdown]
# ## One image beside one example of every class
#
# Ranked by similarity, with the raw similarity and the probability of the same class.

# %%
draw_class_ranking(model, images[15], test.dataset, names=test.class_names, true_label=int(test.dataset.targets[15]))

# %%
draw_class_ranking(model, images[247], test.dataset, names=test.class_names, true_label=int(test.dataset.targets[247]))

# %% [markdown]
# ## Use
#
# Two images in, a verdict out. A threshold belongs to an error rate, and is chosen on images that the model was not
# trained on. Here the first half of the test images serves for that, and the second half judges the choice.

# %%
half = len(test.dataset) // 2
chosen = calibrate(model, torch.utils.data.Subset(test.dataset, range(half)), target_fmr=0.01, method="platt")
print(chosen)
print(evaluate(model, torch.utils.data.Subset(test.dataset, range(half, 2 * half))))

# %%
print(model.verify(images[0], images[1]))
print("raw similarity", model.get_raw_similarity(images[:1], images[1:2]).item())

# %% [markdown]
# Are the probabilities to be believed? Bars would need the images of each pair; these are all pairs.

# %%
projection = Logistic(model.projection.weight.item(), model.projection.bias.item())
draw_reliability(scores, probability=projection, title="Before calibration, stated for half of the pairs positive")

# %% [markdown]
# Search: the most similar of the first 1,000 test images to three others.

# %%
gallery = Gallery(model)
gallery.add(images[:1000])
queries = slice(1000, 1003) if len(images) > 1003 else slice(0, 3)
found = gallery.search(images[queries], k=6)
draw_neighbors(
    images[queries],
    found,
    test.dataset,
    query_labels=test.dataset.targets[queries],
    gallery_labels=test.dataset.targets,
    names=test.class_names,
)

# %% [markdown]
# Save, and load anywhere. Nothing in the folder is code.

# %%
model.save_pretrained(OUT / "calibrated")
again = SimilarityModel.from_pretrained(OUT / "calibrated")
print(again.verify(images[0], images[1]))
