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
# Two images go through one network, and the cosine of the two embeddings is their similarity. This notebook covers the
# complete workflow with pairsim: data, pairs, network, training, evaluation on unseen images, and use.
#
# In every pair, **target 1 means same class and 0 means different**.
#
# `DATA = "digits"` runs quickly and needs no download. For MNIST without a network, put torchvision's files in a folder
# and set the environment variable `PAIRSIM_DATA` to it.

# %%
import os
from pathlib import Path

import torch

from pairsim import (
    EmbeddingNet,
    Gallery,
    PairDataset,
    SimilarityModel,
    TrainConfig,
    Trainer,
    calibrate,
    encode_dataset,
    evaluate,
)
from pairsim.data import load_data
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
# The trainer keeps a tenth of the training images for validation. The test images are used once, at the end. Pixels
# stay uint8; the model normalises them.

# %%
train, test = load_data(DATA, "train"), load_data(DATA, "test")
print(f"{len(train.dataset):,} images to train on, {len(test.dataset):,} to test on, {train.image_size} pixels")

# %% [markdown]
# ## Pairs
#
# A `PairDataset` draws pairs from any labelled dataset without decoding images to get their labels. Exactly half of the
# pairs are positive, an image is never paired with itself, and pair k depends on the seed, the epoch and k only.

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
# The embedding network maps an image to a 128-dimensional embedding of unit length. Any module that returns features
# can be used as the backbone: `EmbeddingNet("resnet18")`, or a custom module.

# %%
model = SimilarityModel(EmbeddingNet(in_channels=train.channels, image_size=train.image_size))
draw_embedding_net(model.embedding_net)

# %% [markdown]
# Both images go through the same network. The similarity is the cosine of their embeddings. A weight, a bias and a
# sigmoid map it to a probability.

# %%
draw_similarity_model(model, first[0], second[0])

# %% [markdown]
# ## Training
#
# The objective `"all-pairs"` uses all pairs of a batch: 128 images give 8,128 pairs with 128 forward passes.
# `objective="pairs"` trains on drawn pairs, with two forward passes per pair. The saved model is the best one on the
# validation pairs.

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
# ## Evaluation
#
# Evaluate on all pairs of the test images, with confidence intervals that account for shared images.

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
# The next figures show which classes are similar, and which pairs have the largest errors.

# %%
draw_class_similarity(embeddings, test.dataset.targets, names=test.class_names)

# %%
draw_confusing_pairs(test.dataset, embeddings, model.threshold, names=test.class_names)

# %%
draw_embedding_map(embeddings, test.dataset.targets, names=test.class_names)

# %% [markdown]
# ## Comparing an image with one example of each class
#
# The examples are ranked by similarity and shown with the similarity and the probability of the same class.

# %%
draw_class_ranking(model, images[15], test.dataset, names=test.class_names, true_label=int(test.dataset.targets[15]))

# %%
draw_class_ranking(model, images[247], test.dataset, names=test.class_names, true_label=int(test.dataset.targets[247]))

# %% [markdown]
# ## Use
#
# Choose a threshold for an error rate, on images that the model was not trained on. Here the first half of the test
# images is used to choose it, and the second half to evaluate it. `verify` then compares two images.

# %%
half = len(test.dataset) // 2
chosen = calibrate(model, torch.utils.data.Subset(test.dataset, range(half)), target_fmr=0.01, method="platt")
print(chosen)
print(evaluate(model, torch.utils.data.Subset(test.dataset, range(half, 2 * half))))

# %%
print(model.verify(images[0], images[1]))
print("raw similarity", model.get_raw_similarity(images[:1], images[1:2]).item())

# %% [markdown]
# The reliability diagram compares predicted and observed probabilities. It is computed over all pairs; error bars would
# need the images of each pair.

# %%
projection = Logistic(model.projection.weight.item(), model.projection.bias.item())
draw_reliability(scores, probability=projection, title="Before calibration, stated for half of the pairs positive")

# %% [markdown]
# Search: the most similar images to three queries, among the first 1,000 test images.

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
# Save the model and load it again. The folder contains no code.

# %%
model.save_pretrained(OUT / "calibrated")
again = SimilarityModel.from_pretrained(OUT / "calibrated")
print(again.verify(images[0], images[1]))
