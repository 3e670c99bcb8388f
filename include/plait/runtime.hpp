#pragma once
// Tensors, typed ops, ranks and training on top of plait.hpp. Models and Hugging Face input: plait/model/ and plait/io/.
#include "plait/comm/rank_threads.hpp"
#include "plait/ops/attention.hpp"
#include "plait/ops/dense.hpp"
#include "plait/ops/constant.hpp"
#include "plait/ops/experts.hpp"
#include "plait/ops/heads.hpp"
#include "plait/ops/leaf.hpp"
#include "plait/ops/loss.hpp"
#include "plait/ops/recompute.hpp"
#include "plait/ops/redistribute.hpp"
#include "plait/plait.hpp"
#include "plait/train/parameter_store.hpp"
