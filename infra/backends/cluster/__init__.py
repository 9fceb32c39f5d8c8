"""Ray: independent nodes as tasks, a sweep as one Tuner. The only importer of ray; the driver itself never loads it."""

from infra.backends.cluster.driver import Cluster

__all__ = ["Cluster"]
