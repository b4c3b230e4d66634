"""Every solver as a scheduler of diffusers, and a pipeline's network as a denoiser. Needs the extra `diffusers`.

pipe.scheduler = SEEDSScheduler.from_config(pipe.scheduler.config)
"""

from seeds.integrations.diffusers.networks import Network, denoiser
from seeds.integrations.diffusers.scheduler import SEEDSScheduler, SEEDSSchedulerOutput

__all__ = ["Network", "SEEDSScheduler", "SEEDSSchedulerOutput", "denoiser"]
