"""hpa_jax.main, where a run is nothing but sums over all devices: started in a second.

With --failing as first argument, work in the background of this process fails after a few steps,
while its main thread waits for the others.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from hpa_jax import main
from hpa_jax.parallel.shared_folder import check_shared_folder

STEPS = 100000
REASON = "a file could not be written (no space left on the device)"
failing = "--failing" in sys.argv


def stepping(call, group, traces):
    check_shared_folder(group, call.workdir, call.config.devices.timeout_s)
    group.barrier("the first step")
    devices = Mesh(jax.devices(), "all")
    ones = np.ones(jax.local_device_count(), np.float32)
    sharded = jax.make_array_from_process_local_data(NamedSharding(devices, P("all")), ones)
    total = jax.jit(jnp.sum, out_shardings=NamedSharding(devices, P()))
    for step in range(STEPS):
        group.report_progress(f"step {step}")
        if failing and step == 3:
            group.watch_work(lambda: REASON)
            group.meet("nobody else comes")
        total(sharded).block_until_ready()
        if group.is_primary:
            (call.workdir / "step").write_text(str(step))
    return main.EXIT_OK


if __name__ == "__main__":
    main._run = stepping
    sys.exit(main.main([word for word in sys.argv[1:] if word != "--failing"]))
