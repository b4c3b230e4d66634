"""Tiny random pipelines of diffusers, built offline from configurations, run end to end; prompt embeddings are passed
in.

Left out: pipelines that check the class of a scheduler or rewrite its insides; docs/hosts.md lists them.
"""

import functools

import diffusers
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel, UNet2DModel

import seeds
from seeds import noise
from seeds.integrations.diffusers import SEEDSScheduler, denoiser

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
SOLVERS = ["seeds-1", "seeds-2", "auto", "seeds-3"]
QUIET = {"output_type": "pt"}


def seeded(make):
    """A network with weights that do not depend on what ran before."""
    network = make().eval()
    network.requires_grad_(False)
    for k, weight in enumerate(network.parameters()):
        if weight.ndim > 1:
            weight.copy_(noise.gaussian(0, k, weight.shape)[0] / weight[0].numel() ** 0.5)
        elif not torch.all(weight == 1):
            weight.zero_()
    return network


@functools.cache
def unet(channels=4, extra=None, **more):
    sizes = {
        "block_out_channels": (8, 8),
        "norm_num_groups": 4,
        "layers_per_block": 1,
        "attention_head_dim": 4,
        "cross_attention_dim": 8,
    }
    blocks = {
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    }
    added = (
        {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 4,
            "projection_class_embeddings_input_dim": 6 * 4 + 8,
        }
        if extra
        else {}
    )
    return seeded(
        lambda: UNet2DConditionModel(sample_size=8, in_channels=channels, out_channels=4, **sizes, **blocks, **added)
    )


@functools.cache
def vae(channels=4, shift=None):
    return seeded(lambda: AutoencoderKL(block_out_channels=(8, 8), norm_num_groups=4, latent_channels=channels,
        sample_size=16, shift_factor=shift,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        scaling_factor=0.5))  # fmt: skip


SD = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}
NO_TEXT = {"text_encoder": None, "tokenizer": None}
IMAGES = noise.gaussian(range(2), 0, (3, 16, 16)).clamp(-1, 1) / 2 + 0.5
MASK = (torch.arange(16) < 8).float().expand(2, 1, 16, 16).clone()


def text(rows, width=8, seed=0):
    return noise.gaussian(range(seed, seed + rows), 0, (5, width))


def stable_diffusion(scheduler, pipeline, rows, generators, **call):
    extra = {"controlnet": controlnet()} if "ControlNet" in pipeline.__name__ else {}
    checker = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    pipe = pipeline(vae=vae(), unet=unet(), scheduler=scheduler, **NO_TEXT, **checker, **extra)
    pipe.set_progress_bar_config(disable=True)
    embeds = {"prompt_embeds": text(2)[rows], "negative_prompt_embeds": 0 * text(2)[rows]}
    size = {} if "image" in call and "ControlNet" not in pipeline.__name__ else {"height": 16, "width": 16}
    call = {name: value[rows] if isinstance(value, torch.Tensor) else value for name, value in call.items()}
    return pipe(**embeds, **size, generator=generators, guidance_scale=3.0, **QUIET, **call).images


@functools.cache
def controlnet():
    made = diffusers.ControlNetModel.from_unet(unet(), conditioning_embedding_out_channels=(4, 4))
    return seeded(lambda: made)


def sdxl(scheduler, rows, generators, pipeline=diffusers.StableDiffusionXLPipeline, **call):
    pipe = pipeline(
        vae=vae(), unet=unet(extra=True), scheduler=scheduler, **NO_TEXT, text_encoder_2=None, tokenizer_2=None
    )
    pipe.set_progress_bar_config(disable=True)
    pooled = noise.gaussian(range(2), 1, (8,))[rows]
    embeds = {"prompt_embeds": text(2)[rows], "pooled_prompt_embeds": pooled}
    negative = {f"negative_{name}": 0 * value for name, value in embeds.items()}
    size = {} if "image" in call else {"height": 16, "width": 16}
    return pipe(**embeds, **negative, **size, generator=generators, guidance_scale=3.0, **({**QUIET, **call})).images


def sd3(scheduler, rows, generators, **call):
    width = {
        "attention_head_dim": 4,
        "num_attention_heads": 2,
        "joint_attention_dim": 8,
        "caption_projection_dim": 8,
        "pooled_projection_dim": 8,
    }
    net = seeded(
        lambda: diffusers.SD3Transformer2DModel(
            sample_size=8, patch_size=1, in_channels=4, num_layers=1, out_channels=4, **width
        )
    )
    nothing = {f"{part}{k}": None for part in ("text_encoder", "tokenizer") for k in ("", "_2", "_3")}
    pipe = diffusers.StableDiffusion3Pipeline(transformer=net, scheduler=scheduler, vae=vae(4, 0.1), **nothing)
    pipe.set_progress_bar_config(disable=True)
    embeds = {"prompt_embeds": text(2)[rows], "pooled_prompt_embeds": noise.gaussian(range(2), 1, (8,))[rows]}
    negative = {f"negative_{name}": 0 * value for name, value in embeds.items()}
    return pipe(**embeds, **negative, height=16, width=16, generator=generators, **QUIET, **call).images


def flux(scheduler, rows, generators, pipeline=diffusers.FluxPipeline, **call):
    width = {
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": 8,
        "pooled_projection_dim": 8,
        "axes_dims_rope": (4, 4, 8),
    }
    net = seeded(
        lambda: diffusers.FluxTransformer2DModel(
            patch_size=1, in_channels=4, num_layers=1, num_single_layers=1, **width
        )
    )
    pipe = pipeline(
        transformer=net, scheduler=scheduler, vae=vae(1, 0.1), **NO_TEXT, text_encoder_2=None, tokenizer_2=None
    )
    pipe.set_progress_bar_config(disable=True)
    embeds = {"prompt_embeds": text(2)[rows], "pooled_prompt_embeds": noise.gaussian(range(2), 1, (8,))[rows]}
    call = {name: value[rows] if isinstance(value, torch.Tensor) else value for name, value in call.items()}
    return pipe(**embeds, height=16, width=16, generator=generators, **QUIET, **call).images


def ddpm(scheduler, rows, generators, **call):
    net = seeded(lambda: UNet2DModel(sample_size=8, block_out_channels=(8, 8), norm_num_groups=4, layers_per_block=1,
        attention_head_dim=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D")))  # fmt: skip
    pipe = diffusers.DDPMPipeline(net, scheduler)
    pipe.scheduler = scheduler  # the pipeline has made a DDPMScheduler of it
    pipe.set_progress_bar_config(disable=True)
    return torch.from_numpy(pipe(len(generators), generator=generators, output_type="np", **call).images)


def wan(scheduler, rows, generators, **call):
    sizes = {
        "patch_size": (1, 2, 2),
        "num_attention_heads": 2,
        "attention_head_dim": 12,
        "in_channels": 4,
        "out_channels": 4,
        "text_dim": 8,
    }
    net = seeded(
        lambda: diffusers.WanTransformer3DModel(freq_dim=16, ffn_dim=16, num_layers=1, rope_max_seq_len=32, **sizes)
    )
    sizes = {
        "dim_mult": [1] * 4,
        "temperal_downsample": [False, True, True],
        "latents_mean": [0.0] * 4,
        "latents_std": [1.0] * 4,
    }
    decoder = seeded(lambda: diffusers.AutoencoderKLWan(base_dim=3, z_dim=4, num_res_blocks=1, **sizes))
    pipe = diffusers.WanPipeline(tokenizer=None, text_encoder=None, transformer=net, vae=decoder, scheduler=scheduler)
    pipe.set_progress_bar_config(disable=True)
    embeds = {"prompt_embeds": text(2)[rows], "negative_prompt_embeds": 0 * text(2)[rows]}
    return pipe(**embeds, height=16, width=16, num_frames=5, generator=generators, output_type="latent", **call).frames


def qwen(scheduler, rows, generators, **call):
    sizes = {"attention_head_dim": 16, "num_attention_heads": 2, "joint_attention_dim": 8, "axes_dims_rope": (4, 4, 8)}
    net = seeded(lambda: diffusers.QwenImageTransformer2DModel(in_channels=16, out_channels=4, num_layers=1, **sizes))
    sizes = {"dim_mult": [1, 1], "temperal_downsample": [False], "latents_mean": [0.0] * 4, "latents_std": [1.0] * 4}
    decoder = seeded(lambda: diffusers.AutoencoderKLQwenImage(base_dim=8, z_dim=4, num_res_blocks=1, **sizes))
    pipe = diffusers.QwenImagePipeline(transformer=net, scheduler=scheduler, vae=decoder, **NO_TEXT)
    pipe.set_progress_bar_config(disable=True)
    embeds = {"prompt_embeds": text(2)[rows], "negative_prompt_embeds": 0 * text(2)[rows]}
    masks = {f"{name}_mask": torch.ones(value.shape[:2], dtype=torch.int64) for name, value in embeds.items()}
    return pipe(**embeds, **masks, height=16, width=16, generator=generators, **QUIET, **call).images


IMG2IMG = {"image": IMAGES, "strength": 0.6}
PIPELINES = {
    "SD": (functools.partial(stable_diffusion, pipeline=diffusers.StableDiffusionPipeline), SD),
    "SD img2img": (
        functools.partial(stable_diffusion, pipeline=diffusers.StableDiffusionImg2ImgPipeline, **IMG2IMG),
        SD,
    ),
    "SD inpaint": (
        functools.partial(
            stable_diffusion, pipeline=diffusers.StableDiffusionInpaintPipeline, image=IMAGES, mask_image=MASK
        ),
        SD,
    ),
    "SD ControlNet": (
        functools.partial(stable_diffusion, pipeline=diffusers.StableDiffusionControlNetPipeline, image=IMAGES),
        SD,
    ),
    "SDXL": (sdxl, {**SD, "timestep_spacing": "leading"}),
    "SD3": (sd3, {"shift": 3.0}),
    "Flux": (flux, {"shift": 1.0, "use_dynamic_shifting": True}),
    "Flux img2img": (
        functools.partial(flux, pipeline=diffusers.FluxImg2ImgPipeline, **IMG2IMG),
        {"shift": 1.0, "use_dynamic_shifting": True},
    ),
    "Wan": (wan, {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 3.0}),
    "Qwen-Image": (qwen, {"shift": 1.0, "use_dynamic_shifting": True, "shift_terminal": 0.02}),
    "DDPM": (ddpm, {}),
}


def generators(rows):
    return [torch.Generator().manual_seed(40 + k) for k in range(2)][rows]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("name", PIPELINES)
@torch.no_grad()
def test_the_same_seed_is_the_same_image_alone_and_in_a_batch_and_after_another_run(name, solver):
    run, config = PIPELINES[name]
    scheduler = SEEDSScheduler(**config, solver=solver)

    def images(rows, steps):
        return run(scheduler, rows=rows, generators=generators(rows), num_inference_steps=steps)

    both = images(slice(0, 2), 5)
    assert both.shape[0] == 2 and torch.isfinite(both).all() and scheduler.step_index == len(scheduler.timesteps)
    if solver in ("auto", "seeds-3"):
        alone = images(slice(1, 2), 3)
        assert torch.equal(images(slice(0, 2), 5), both), "another run, of another size, leaves nothing"
        alone = images(slice(1, 2), 5)
        torch.testing.assert_close(alone, both[1:], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(both[0], both[1])


@torch.no_grad()
def test_two_sdxl_models_share_a_run_by_denoising_end_and_denoising_start():
    """The same network twice is the run of one network: of one-call solvers wholly, of others the levels are met."""
    whole = {}
    for solver in ("erk-1", "seeds-3"):
        scheduler = SEEDSScheduler(**SD, solver=solver)
        run = functools.partial(sdxl, scheduler, slice(0, 2), num_inference_steps=10, output_type="latent")
        whole[solver] = run(generators=generators(slice(0, 2)))
        base = run(generators=generators(slice(0, 2)), denoising_end=0.6)
        asked = int(scheduler.step_index)
        refiner = functools.partial(
            sdxl, scheduler, slice(0, 2), pipeline=diffusers.StableDiffusionXLImg2ImgPipeline, output_type="latent"
        )
        refined = refiner(generators=generators(slice(0, 2)), num_inference_steps=10, denoising_start=0.6, image=base)
        assert scheduler.begin_index == asked and scheduler.step_index == 10 and torch.isfinite(refined).all()
        if solver == "erk-1":
            torch.testing.assert_close(refined, whole[solver], rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_the_layout_of_multi_stage_hosts_runs_through_image_to_image():
    run, config = PIPELINES["SD img2img"]
    for solver, order in (("seeds-2", 2), ("seeds-3", 3), ("seeds-4", 5)):
        scheduler = SEEDSScheduler(**config, solver=solver, calls_per_step="stages")
        images = run(scheduler, rows=slice(0, 2), generators=generators(slice(0, 2)), num_inference_steps=4)
        assert torch.isfinite(images).all() and scheduler.begin_index == 2 * order


@torch.no_grad()
def test_a_pipeline_and_sample_draw_the_same_latents():
    scheduler = SEEDSScheduler(**SD, solver="seeds-2")
    scheduler.set_seeds([3, 4])
    checker = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    pipe = diffusers.StableDiffusionPipeline(vae=vae(), unet=unet(), scheduler=scheduler, **NO_TEXT, **checker)
    pipe.set_progress_bar_config(disable=True)
    x = noise.gaussian(range(2), -1, (4, 8, 8))
    drawn = pipe(prompt_embeds=text(2), negative_prompt_embeds=text(2, seed=9), latents=x, num_inference_steps=6,
        guidance_scale=3.0, output_type="latent",
        height=16, width=16).images  # fmt: skip
    known = denoiser(pipe, null=text(1, seed=9))
    known_null = {"encoder_hidden_states": text(2, seed=9)}
    guided = seeds.guide(known, 3.0, null=known_null)
    same = seeds.sample(
        guided,
        known.shape,
        seed=[3, 4],
        x=x * scheduler.init_noise_sigma,
        labels={"encoder_hidden_states": text(2)},
        plan=_begun(scheduler),
    )
    torch.testing.assert_close(drawn, same, rtol=1e-4, atol=1e-4)
    assert known.decode(same).shape == (2, 3, 16, 16) and known.encode(known.decode(same)).shape == same.shape
    assert np.isfinite(known.decode(same).numpy()).all()


def _begun(scheduler):
    scheduler.set_begin_index(0)
    return scheduler.plan
