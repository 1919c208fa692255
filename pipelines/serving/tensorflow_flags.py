"""Flags of TensorFlow Serving's model server (model_servers/main.cc) that `triptych serve` does not have."""

from __future__ import annotations

MISSING = {
    "allow_version_labels_for_unavailable_models": "labels versions that are not loaded yet; here the configuration "
    "that the server starts with may do so, a reload request may not",
    "enable_grpc_healthcheck_service": "serves grpc.health.v1.Health, which is always served here",
    "enable_model_warmup": "runs the recorded warm-up requests of a version before it counts as available, which is "
    "always done here",
    "enable_per_model_batching_parameters": "reads batching_params.pbtxt of each model; here one "
    "--batching_parameters_file holds for all models",
    "enable_profiler": "serves TensorFlow's profiler; profile an export with TensorFlow's own tools",
    "enable_serialization_as_tensor_content": "answers Predict with tensor_content in place of typed fields; here "
    "answers are in typed fields",
    "enable_signature_method_name_check": "refuses signatures whose method_name is not that of the request; here "
    "their inputs and outputs decide, as there by default",
    "flush_filesystem_caches": "drops the file system's caches once models are loaded",
    "grpc_max_threads": "limits the threads of gRPC; here: --set serve.threads=N",
    "mixed_precision": "loads models in mixed precision; export them so",
    "num_load_threads": "loads several models at a time; here they are loaded one after the other",
    "num_request_iterations_for_warmup": "repeats each warm-up request; here each runs once",
    "num_tflite_interpreters_per_pool": "sizes the pools of TensorFlow Lite, which is not served here",
    "num_tflite_pools": "sizes the pools of TensorFlow Lite, which is not served here",
    "num_unload_threads": "unloads several models at a time; here each is unloaded with its last request",
    "per_process_gpu_memory_fraction": "limits the share of a GPU's memory; here TensorFlow's own variables do, such "
    "as TF_FORCE_GPU_ALLOW_GROWTH",
    "platform_config_file": "configures other platforms than TensorFlow, which are not served here",
    "prefer_tflite_model": "serves model.tflite in place of saved_model.pb; TensorFlow Lite is not served here",
    "remove_unused_fields_from_bundle_metagraph": "frees parts of the loaded graph's description",
    "rest_api_enable_cors_support": "allows browsers to ask from pages of other origins; put a proxy in front",
    "rest_api_num_threads": "limits the threads of the REST API; here: --set serve.threads=N",
    "saved_model_tags": 'chooses the graph of a SavedModel by its tags; here it is the one with the tag "serve"',
    "skip_initialize_tpu": "leaves a TPU as it is",
    "tensorflow_inter_op_parallelism": "limits the operations that run at a time; here: the variable "
    "TF_NUM_INTEROP_THREADS",
    "tensorflow_intra_op_parallelism": "limits the threads of an operation; here: the variable TF_NUM_INTRAOP_THREADS",
    "tensorflow_session_config_file": "reads the options of TensorFlow's sessions",
    "tensorflow_session_parallelism": "limits the threads of a session; here: the variables TF_NUM_INTEROP_THREADS and "
    "TF_NUM_INTRAOP_THREADS",
    "thread_pool_factory_config_file": "names thread pools of one's own; here: --set serve.threads=N",
    "use_alts_credentials": "secures gRPC with Google's ALTS; here: --ssl_config_file",
    "version": "prints TensorFlow Serving's version; here: triptych --version",
    "xla_cpu_compilation_enabled": "lets models use XLA on CPUs, which they may here",
    "xla_gpu_compilation_enabled": "lets models use XLA on CPUs and GPUs, which they may here",
}
"""Name of the flag -> what it does there, and what to do here."""


def explanation(option: str) -> str | None:
    """One line on a flag that the command line lacks; None if TensorFlow Serving has no such flag either.

    Args:
      option: as it was given, such as "--num_load_threads".
    """
    name = option.lstrip("-").replace("-", "_")
    if name not in MISSING:
        return None
    return f"--{name} is a flag of TensorFlow Serving that this server does not have: it {MISSING[name]}"
