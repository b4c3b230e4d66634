"""Host programs: what diffusers, k-diffusion and ComfyUI call, each thin over `hosts`, which holds what they share."""
