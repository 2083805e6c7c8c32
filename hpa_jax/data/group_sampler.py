"""Batches of P groups with K images each, for losses that compare images of one batch.

`GroupOrder` is a sequence of image numbers as `sampler.Order` is, and is read in its place: the
images at positions [s P K, (s + 1) P K) are the batch of step s, K adjacent images of each of P
different groups. Everything else (sharding over processes, threads, resuming at a position) is
arithmetic on positions, as for any order (`loader.py`).

Design: an epoch shows every group once, by K images that are drawn without replacement; a group of
fewer repeats them, each as often as any other, give or take one. Groups that do not fill a last
batch are left out of the epoch, others each time. An epoch is a function of (seed, its number)
alone, made of the same raw random numbers as `sampler.Order`: the same on any machine.

References:
  Hermans et al. 2017, In Defense of the Triplet Loss, arXiv:1703.07737, section 2 (batches of P
  classes and K images).
"""

import numpy as np

from hpa_jax.data.epochs import EpochOrder, permutation
from hpa_jax.errors import InputError


class GroupOrder(EpochOrder):
    """An endless sequence of image numbers, in batches of groups (see `EpochOrder`).

    Attributes:
      num_images: images to draw from.
      num_groups: groups to draw from.
      epoch_length: positions of an epoch, a multiple of P K.
    """

    def __init__(self, groups: np.ndarray, seed: int, *, per_batch: int, images_each: int):
        """Prepares an order.

        Args:
          groups: int [N], each image's group, or any other class of images.
          seed: 0 or more.
          per_batch: groups of a batch, P.
          images_each: of a group in a batch, K.

        Raises:
          InputError: no images, fewer groups than a batch has, or P or K below 1.
        """
        groups = np.asarray(groups)
        if groups.ndim != 1 or not len(groups):
            raise InputError(f"no image to draw from: groups of shape {list(groups.shape)}")
        if per_batch < 1 or images_each < 1:
            raise InputError(
                f"batches of {per_batch} groups with {images_each} images each: give 1 or more "
                "of both"
            )
        _, self._group = np.unique(groups, return_inverse=True)
        self._sizes = np.bincount(self._group)
        self.num_images = len(groups)
        self.num_groups = len(self._sizes)
        if self.num_groups < per_batch:
            raise InputError(
                f"{self.num_groups} groups to draw from, and {per_batch} are to be in a batch; "
                "choose a smaller config.data.batch_size, or more config.metric.images_per_group"
            )
        super().__init__()
        self._seed = seed
        self._images_each = images_each
        self._groups_of_epoch = self.num_groups // per_batch * per_batch
        self.epoch_length = self._groups_of_epoch * images_each

    def _draw_epoch(self, number: int) -> np.ndarray:
        generator = np.random.Philox(np.random.SeedSequence(self._seed, spawn_key=(number,)))
        groups = permutation(self.num_groups, generator)[: self._groups_of_epoch]
        shuffled = permutation(self.num_images, generator)
        # Group by group, the images of each in the random order that they have in `shuffled`.
        by_group = shuffled[np.argsort(self._group[shuffled], kind="stable")]
        starts = np.cumsum(self._sizes) - self._sizes
        # Of a group with fewer images, they come round again.
        places = np.arange(self._images_each) % self._sizes[groups][:, None]
        images = by_group[starts[groups][:, None] + places].astype(np.int32).reshape(-1)
        images.flags.writeable = False
        return images
