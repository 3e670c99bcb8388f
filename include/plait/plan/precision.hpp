#pragma once
// Precision is a policy of the plan, by role. Elements are named by tag types so that no CUDA header is needed here.
namespace plait::inline v0_1 {

struct bfloat16;  // runtime/bfloat16.hpp

/// parameter: as stored in a model folder; compute: activations and gathered weights; reduce: FSDP gradients on the wire;
/// accumulate: gradient accumulators; master and moment: optimizer state.
template <class Parameter, class Compute, class Reduce, class Accumulate, class Master, class Moment>
struct precision {
  using parameter = Parameter;
  using compute = Compute;
  using reduce = Reduce;
  using accumulate = Accumulate;
  using master = Master;
  using moment = Moment;
};

using float32_precision = precision<float, float, float, float, float, float>;
using bfloat16_precision = precision<bfloat16, bfloat16, float, float, float, float>;
/// No float32 copy of weights or moments: half the memory of the states. Updates below a weight's last bit are lost, and so is a second
/// moment's slow decay; gradients keep float32.
using bfloat16_states_precision = precision<bfloat16, bfloat16, float, float, bfloat16, bfloat16>;
using float64_precision = precision<double, double, double, double, double, double>;

/// Plan with its precision replaced: struct mixtral_tp_bf16 : with_precision<mixtral_tp, bfloat16_precision> {};
template <class Plan, class Precision>
struct with_precision : Plan {
  using precision = Precision;
};

}  // namespace plait::inline v0_1
