#pragma once
// Which GPU a rank takes, and what carries collectives between GPUs.
#include <memory>
#include <string>

#include "plait/comm/rank_fabric.hpp"
#include "session.hpp"

namespace trainer {

/// Before anything touches a GPU: this process's own, if it is one of several. `local_rank` below 0: by the order of ranks.
void take_gpu(const options& o, int local_rank);

/// Collectives through NCCL where each rank has a GPU of its own; null where ranks are threads that share one.
std::unique_ptr<plait::rank_fabric> gpu_fabric(const options& o);

/// ", a GPU each (NCCL 2.28.9)", ", sharing one GPU" or nothing.
std::string gpu_text(const options& o);

/// Why threads share one GPU though there are several; empty: they do not, or there is only one.
std::string gpu_note(const options& o);

}  // namespace trainer
