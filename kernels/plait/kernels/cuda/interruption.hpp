#pragma once
// How a thread that waits for its queue learns that the run has failed while it waited.

namespace plait::inline v0_1::cuda {

class interruption {
 public:
  virtual ~interruption() = default;
  /// Throws if the run has failed: what the queue computed is worth nothing then.
  virtual void check() = 0;
};

}  // namespace plait::inline v0_1::cuda
