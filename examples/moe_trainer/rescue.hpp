#pragma once
// Where the results of a run go when the folder that was named for them fails at its end: nothing that took hours is lost to a full disk.
#include <string>

#include "plait/train/save.hpp"
#include "session.hpp"

namespace trainer {

/// The run's model beside `folder`, in the working directory, or in the folder for temporary files: in a new folder, which is returned.
/// Empty: none of them could be written. Every rank must call it.
std::string export_elsewhere(plait::context& c, rank_model& m, const session& s, const std::string& folder, std::int64_t step);

/// The run's state likewise, as a checkpoint; the checkpoint's folder is returned.
std::string save_elsewhere(plait::context& c, const plait::parameter_store& store, const plait::save_facts& facts, const std::string& folder);

}  // namespace trainer
