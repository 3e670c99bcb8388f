#pragma once
// The mesh of the trainer's plans: three atomic axes with run-time sizes, and the views of them that plans speak of.
#include "plait/plait.hpp"

namespace plait::inline v0_1 {

struct fsdp_outer : axis<dyn> {};
struct fsdp_inner : axis<dyn> {};
struct tp : axis<dyn> {};
struct training_mesh : mesh<fsdp_outer, fsdp_inner, tp> {};

/// Rows of the batch, and FSDP of everything that is whole on these ranks.
struct data : axis_view<fsdp_outer, fsdp_inner> {};
/// Experts: over tp alone (fsdp_inner = 1), or over the inner data ranks as well.
struct ep : axis_view<fsdp_inner, tp> {};
/// FSDP of the experts: the data ranks that hold the same ones.
struct efsdp : axis_view<fsdp_outer> {};

}  // namespace plait::inline v0_1
