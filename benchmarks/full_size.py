"""An LTX2Pipeline whose transformer has the size of LTX 2.3, or of the nano model, with random weights."""

from __future__ import annotations

from typing import Any

SEED = 0


def build(small: bool, device: Any, dtype: Any) -> Any:
    """A real LTX2Pipeline with the 2.3 flags; prompt embeddings are to be given, VAEs only have the right widths."""
    import torch
    from diffusers import AutoencoderKLLTX2Audio, AutoencoderKLLTX2Video, LTX2Pipeline, LTX2VideoTransformer3DModel
    from diffusers.pipelines.ltx2 import LTX2TextConnectors

    from recorder.nano import components, sound

    default = torch.get_default_dtype()
    torch.manual_seed(SEED)
    try:
        # Made where it stays and as it stays: 22 B parameters in float32 would fill the device, or the host, twice.
        torch.set_default_dtype(dtype)
        with torch.device(device):
            if small:
                transformer, connectors = components.transformer(), components.connectors()
            else:
                transformer = LTX2VideoTransformer3DModel(
                    rope_type="split",
                    gated_attn=True,
                    audio_gated_attn=True,
                    cross_attn_mod=True,
                    audio_cross_attn_mod=True,
                    perturbed_attn=True,
                    use_prompt_embeddings=False,
                )
                connectors = LTX2TextConnectors(
                    text_proj_in_factor=1,  # of 49 layers of hidden states: the projection runs once, before the loop
                    video_connector_num_attention_heads=32,
                    video_connector_num_layers=1,
                    video_gated_attn=True,
                    audio_connector_num_attention_heads=32,
                    audio_connector_attention_head_dim=64,
                    audio_connector_num_layers=1,
                    audio_gated_attn=True,
                    rope_type="split",
                    per_modality_projections=True,
                    proj_bias=True,
                )
    finally:
        torch.set_default_dtype(default)
    tiny = {"block_out_channels": (4, 4, 8, 8), "decoder_block_out_channels": (8, 16, 24)}
    layers = {"layers_per_block": (1, 1, 1, 1, 1), "decoder_layers_per_block": (1, 1, 1, 0)}
    vae = AutoencoderKLLTX2Video(
        latent_channels=transformer.config.in_channels,
        spatial_compression_ratio=32,
        temporal_compression_ratio=8,
        **tiny,
        **layers,
    )
    audio_vae = AutoencoderKLLTX2Audio(
        base_channels=transformer.config.audio_in_channels,
        output_channels=2,
        ch_mult=(1, 1, 1),
        num_res_blocks=1,
        in_channels=2,
        resolution=32,
        latent_channels=sound.CHANNELS,
        norm_type="pixel",
        causality_axis="height",
        mel_bins=4 * sound.BINS,
    )
    for part in (transformer, connectors):
        part.eval().requires_grad_(False)
    pipe = LTX2Pipeline(
        scheduler=components.scheduler(),
        vae=vae.to(device, dtype),
        audio_vae=audio_vae.to(device, dtype),
        text_encoder=None,
        tokenizer=None,
        connectors=connectors,
        transformer=transformer,
        vocoder=components.vocoder().to(device, dtype),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe
