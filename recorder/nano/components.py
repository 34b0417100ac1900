"""The nano LTX 2.3: every real component class of LTX2Pipeline, with the 2.3 flags, at toy size and untrained."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    AutoencoderKLLTX2Audio,
    AutoencoderKLLTX2Video,
    FlowMatchEulerDiscreteScheduler,
    LTX2Pipeline,
    LTX2VideoTransformer3DModel,
)
from diffusers.pipelines.ltx2 import LTX2TextConnectors
from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3TextConfig, PreTrainedTokenizerFast

from recorder.nano import clips, sound

TEXT_WIDTH = 16
TEXT_LAYERS = 2
TEXT_LENGTH = 16
"""Tokens of a prompt with its padding."""
HEADS = 4
"""Attention heads of both streams: ComfyUI takes the audio's number for the attention between streams."""
VIDEO_WIDTH = 64
AUDIO_TOKEN = sound.CHANNELS * sound.BINS
AUDIO_WIDTH = AUDIO_TOKEN
"""No narrower than an audio token: a velocity holds the token's whole noise, which must pass through."""
AUDIO_ROOM = 16
"""Dimensions of the audio stream that an untrained model keeps free of noise, for what the stream works out."""


def tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer over the prompts' vocabulary; a word it does not know becomes [UNK]."""
    words = sorted({w for p in clips.all_prompts() for w in p.split()})
    vocabulary = {w: i for i, w in enumerate(["[PAD]", "[EOS]", "[BOS]", "[UNK]", *words])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single="[BOS] $A", special_tokens=[("[BOS]", vocabulary["[BOS]"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="[PAD]",
        eos_token="[EOS]",
        bos_token="[BOS]",
        unk_token="[UNK]",
        padding_side="left",
        model_max_length=1024,
    )


def text_encoder(vocab_size: int) -> Gemma3ForConditionalGeneration:
    """A two-layer Gemma 3 that is never trained.

    Its embeddings are re-drawn with standard deviation 1: the library's default of .02 barely separates words.
    """
    text = Gemma3TextConfig(
        vocab_size=vocab_size,
        hidden_size=TEXT_WIDTH,
        intermediate_size=32,
        num_hidden_layers=TEXT_LAYERS,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        query_pre_attn_scalar=8,
        max_position_embeddings=1024,
        sliding_window=1024,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
    )
    vision = {
        "model_type": "siglip_vision_model",
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "image_size": 8,
        "patch_size": 4,
    }
    config = Gemma3Config(
        text_config=text.to_dict(),
        vision_config=vision,
        mm_tokens_per_image=4,
        image_token_index=3,
        boi_token_index=3,
        eoi_token_index=3,
    )
    model = Gemma3ForConditionalGeneration(config)
    with torch.no_grad():
        model.get_input_embeddings().weight.normal_(std=1.0)
    return model.eval()


def transformer() -> LTX2VideoTransformer3DModel:
    """Four blocks, four heads of 16 for video and four of 32 for audio."""
    model = LTX2VideoTransformer3DModel(
        in_channels=clips.CHANNELS,
        out_channels=clips.CHANNELS,
        num_attention_heads=HEADS,
        attention_head_dim=VIDEO_WIDTH // HEADS,
        cross_attention_dim=VIDEO_WIDTH,
        audio_in_channels=AUDIO_TOKEN,
        audio_out_channels=AUDIO_TOKEN,
        audio_num_attention_heads=HEADS,
        audio_attention_head_dim=AUDIO_WIDTH // HEADS,
        audio_cross_attention_dim=AUDIO_WIDTH,
        num_layers=4,
        caption_channels=TEXT_WIDTH,
        base_height=512,
        base_width=512,
        pos_embed_max_pos=4,
        audio_pos_embed_max_pos=4,
        rope_type="split",
        rope_double_precision=True,
        gated_attn=True,
        audio_gated_attn=True,
        cross_attn_mod=True,
        audio_cross_attn_mod=True,
        perturbed_attn=True,
        use_prompt_embeddings=False,
    )
    _start_as_passage(model.proj_in, model.proj_out)
    _start_as_passage(model.audio_proj_in, model.audio_proj_out, torch.from_numpy(sound.silent_spectra(AUDIO_ROOM)))
    return model


def _start_as_passage(into: torch.nn.Linear, out: torch.nn.Linear, without: torch.Tensor | None = None) -> None:
    """Let an untrained stream pass its input on: at the highest noise level that almost is the velocity.

    Between the two layers, tokens are brought to unit power per channel of the inner width. The directions `without`
    [channels, directions] of a token, of unit length and at right angles, are held back.
    """
    with torch.no_grad():
        torch.nn.init.orthogonal_(into.weight)
        if without is not None:
            into.weight.sub_(into.weight @ without @ without.T)
        out.weight.copy_(into.weight.T * (into.in_features / into.out_features) ** 0.5)
        into.bias.zero_()
        out.bias.zero_()


def connectors() -> LTX2TextConnectors:
    """One block per modality, learnable registers in place of padding.

    A length that the registers do not divide is refused, so there are as many as a prompt has tokens. Registers repeat
    along longer prompts: these sixteen, eight times over, are the 128 that Lightricks' layout holds.
    """
    return LTX2TextConnectors(
        caption_channels=TEXT_WIDTH,
        text_proj_in_factor=TEXT_LAYERS + 1,
        video_connector_num_attention_heads=HEADS,
        video_connector_attention_head_dim=VIDEO_WIDTH // HEADS,
        video_connector_num_layers=1,
        video_connector_num_learnable_registers=TEXT_LENGTH,
        video_gated_attn=True,
        audio_connector_num_attention_heads=HEADS,
        audio_connector_attention_head_dim=AUDIO_WIDTH // HEADS,
        audio_connector_num_layers=1,
        audio_connector_num_learnable_registers=TEXT_LENGTH,
        audio_gated_attn=True,
        connector_rope_base_seq_len=4096,
        rope_double_precision=True,
        rope_type="split",
        per_modality_projections=True,
        video_hidden_dim=VIDEO_WIDTH,
        audio_hidden_dim=AUDIO_WIDTH,
        proj_bias=True,
    )


def vae() -> AutoencoderKLLTX2Video:
    """The video autoencoder's real class; only its decoder is trained, since clips are drawn straight into latents."""
    model = AutoencoderKLLTX2Video(
        latent_channels=clips.CHANNELS,
        block_out_channels=(4, 4, 8, 8),
        decoder_block_out_channels=(8, 16, 24),
        layers_per_block=(1, 1, 1, 0, 0),
        decoder_layers_per_block=(1, 1, 1, 0),
        spatial_compression_ratio=32,
        temporal_compression_ratio=8,
        upsample_factor=(1, 1, 1),
        upsample_residual=(False, False, False),
    )
    _start_as_enlargement(model.decoder)
    return model


def _start_as_enlargement(decoder: Any) -> None:
    """Let an untrained decoder enlarge a random linear mixture of the latents, cell by cell.

    From the library's random start, where the latents are all but lost among biases, minutes of training only find
    the mean picture.
    """
    with torch.no_grad():
        for module in decoder.modules():
            if isinstance(module, torch.nn.Conv3d) and module.bias is not None:
                module.bias.zero_()
        first, last = decoder.conv_in.conv.weight, decoder.conv_out.conv.weight
        into = torch.nn.init.orthogonal_(torch.empty(first.shape[:2]))
        out = torch.randn(decoder.out_channels // decoder.patch_size**2, last.shape[1]) / last.shape[1] ** 0.5
        _add_to_present(first, into)
        _add_to_present(last, out.repeat_interleave(decoder.patch_size**2, dim=0))
        for block in decoder.up_blocks:
            for upsampler in block.upsamplers:
                weight = upsampler.conv.conv.weight
                same = torch.eye(weight.shape[1])
                _add_to_present(weight, same.repeat_interleave(weight.shape[0] // weight.shape[1], dim=0))


def _add_to_present(weight: torch.Tensor, matrix: torch.Tensor) -> None:
    """Add a matrix to a causal kernel's middle tap of the newest frame, and calm down everything else."""
    weight.mul_(0.3)
    weight[:, :, -1, 1, 1] += matrix


def audio_vae() -> AutoencoderKLLTX2Audio:
    """The audio autoencoder's real class; untrained, so the nano model's sound is not meant to be heard.

    Its latents are the real model's, 8 channels of 16 mel bins. A single base channel keeps it small: the statistics
    that latents are scaled by, one for all here, have that many.
    """
    return AutoencoderKLLTX2Audio(
        base_channels=1,
        output_channels=2,
        ch_mult=(2, 2, 2),
        num_res_blocks=1,
        in_channels=2,
        resolution=32,
        latent_channels=sound.CHANNELS,
        norm_type="pixel",
        causality_axis="height",
        mel_bins=4 * sound.BINS,
    )


def vocoder() -> LTX2Vocoder:
    """The vocoder's real class; untrained."""
    return LTX2Vocoder(
        in_channels=2 * 4 * sound.BINS,
        hidden_channels=4,
        out_channels=2,
        upsample_kernel_sizes=[4, 4],
        upsample_factors=[2, 2],
        resnet_kernel_sizes=[3],
        resnet_dilations=[[1, 3, 5]],
        output_sampling_rate=16000,
    )


def scheduler() -> FlowMatchEulerDiscreteScheduler:
    """The scheduler with the configuration LTX-2.3 ships: dynamic shift, stretched to a terminal of .1."""
    return FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True,
        base_shift=0.95,
        max_shift=2.05,
        base_image_seq_len=1024,
        max_image_seq_len=4096,
        shift_terminal=0.1,
    )


def build(seed: int = 0) -> LTX2Pipeline:
    """An untrained nano pipeline, the same for the same seed."""
    torch.manual_seed(seed)
    words = tokenizer()
    parts: dict[str, Any] = {
        "tokenizer": words,
        "text_encoder": text_encoder(len(words)),
        "transformer": transformer(),
        "connectors": connectors(),
        "vae": vae(),
        "audio_vae": audio_vae(),
        "vocoder": vocoder(),
        "scheduler": scheduler(),
    }
    return LTX2Pipeline(**parts)
