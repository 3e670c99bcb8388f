// moe_trainer checkpoint ls | verify | diff | merge: what can be done with checkpoints without running a model.
#include <fmt/format.h>

#include <cmath>
#include <cstdio>

#include "export.hpp"
#include "plait/io/checkpoint.hpp"
#include "plait/io/config.hpp"

namespace trainer {
namespace {

namespace io = plait::io;

std::string mesh_text(const io::manifest& m) {
  std::string text;
  for (std::size_t a = 0; a < m.axes.size() && a < m.sizes.size(); ++a) text += fmt::format("{}{}={}", a > 0 ? "," : "", m.axes[a], m.sizes[a]);
  return text;
}

io::checkpoint open_any(const std::string& path) { return io::holds_shards(path) ? io::open_shards(path) : open_saved(path, true); }

int list(const std::string& path) {
  std::vector<std::string> folders;
  if (io::holds_manifest(path)) folders.push_back(path);
  else
    for (const std::int64_t step : io::steps_in(path)) folders.push_back(path + "/" + io::step_folder_name(step));
  if (folders.empty()) io::latest_checkpoint(path);  // says why there are none
  int bad = 0;
  for (const std::string& folder : folders) {
    try {
      const io::checkpoint c = io::open_checkpoint(folder);
      fmt::print("{}  step {}  {:.1f} MB  {} files  {} {}, {} ({})\n", folder, c.m.training.step, static_cast<double>(c.m.bytes()) / 1e6, c.m.files.size(),
                 c.m.family, c.m.element_types, c.m.plan, mesh_text(c.m));
    } catch (const io::input_error& e) {
      ++bad;
      fmt::print("{}  not usable: {}\n", folder, e.what());
    }
  }
  return bad == 0 ? 0 : 1;
}

/// Every byte against its digest, and every safetensors header against the manifest. Of a folder the latest checkpoint; that it is not the
/// one of the highest step, whose manifest is damaged, is a failure, too.
int verify(const std::string& path) {
  std::vector<std::string> passed_over;
  const io::checkpoint c = io::open_checkpoint(io::latest_checkpoint(path, &passed_over));
  for (const std::string& why : passed_over) fmt::print("BAD: {}\n", why);
  io::checkpoint_reader reader(c);
  int bad = 0;
  for (std::size_t f = 0; f < c.m.files.size(); ++f) {
    const io::stored_file& file = c.m.files[f];
    try {
      reader.verify(static_cast<int>(f));
      if (file.header != 0) {
        const io::safetensors_file tensors(c.path + "/" + file.name);
        std::size_t listed = 0;
        for (const io::stored_tensor& t : c.m.tensors)
          for (const io::tensor_chunk& k : t.chunks) {
            if (k.file != static_cast<int>(f)) continue;
            ++listed;
            const io::tensor_entry* const e = tensors.find(io::key_of(t.role, t.name));
            if (e == nullptr || tensors.data_begin() + e->begin != k.position || e->type != t.type ||
                !std::equal(e->shape().begin(), e->shape().end(), k.box.count.begin(), k.box.count.begin() + t.rank))
              throw io::input_error(tensors.path(), "tensor " + io::in_quotes(t.name), "is not where the manifest says");
          }
        if (listed != tensors.entries().size()) throw io::input_error(tensors.path(), "header", "has tensors that the manifest does not list");
      }
      fmt::print("{}  {} bytes  good\n", file.name, file.bytes);
    } catch (const io::input_error& e) {
      ++bad;
      fmt::print("{}  BAD: {}\n", file.name, e.what());
    }
  }
  fmt::print("{}: {} of {} files good, {} tensors, step {}\n", c.path, c.m.files.size() - static_cast<std::size_t>(bad), c.m.files.size(), c.m.tensors.size(),
             c.m.training.step);
  return bad == 0 && passed_over.empty() ? 0 : 1;
}

/// Calls visit(box, values) for slices of a tensor of at most about a million elements.
template <class Visit>
void for_each_slice(const io::stored_tensor& t, Visit visit) {
  io::tensor_box box;
  for (std::size_t d = 0; d < static_cast<std::size_t>(t.rank); ++d) box.count[d] = t.shape[d];
  if (t.elements() == 0) return;
  const std::int64_t rows = t.rank == 0 ? 1 : t.shape[0], row = t.elements() / rows, step = std::max<std::int64_t>(1, 1'000'000 / std::max<std::int64_t>(row, 1));
  for (std::int64_t first = 0; first < rows; first += step) {
    if (t.rank > 0) box.start[0] = first, box.count[0] = std::min(step, rows - first);
    visit(box);
  }
}

int diff(const std::string& left, const std::string& right) {
  const io::checkpoint a = open_any(left), b = open_any(right);
  io::checkpoint_reader read_a(a), read_b(b);
  int different = 0, same = 0;
  const auto label = [](const io::stored_tensor& t) { return fmt::format("{} {}", io::name_of(t.role), io::in_quotes(t.name, 200)); };
  if (a.m.training.step != b.m.training.step) fmt::print("step: {} and {}\n", a.m.training.step, b.m.training.step);
  for (const io::stored_tensor& t : a.m.tensors) {
    const io::stored_tensor* const u = b.find(t.role, t.name);
    if (u == nullptr || t.extents().size() != u->extents().size() || !std::equal(t.extents().begin(), t.extents().end(), u->extents().begin())) {
      ++different;
      fmt::print("{}: {} and {}\n", label(t), io::shape_text(t.extents()), u == nullptr ? "missing" : io::shape_text(u->extents()));
      continue;
    }
    std::int64_t unlike = 0;
    double most = 0, norm = 0;
    std::vector<double> x, y;
    for_each_slice(t, [&](const io::tensor_box& box) {
      x.resize(static_cast<std::size_t>(box.volume(t.rank)));
      y.resize(x.size());
      read_a.read(t, box, plait::dtype::f64, x.data());
      read_b.read(*u, box, plait::dtype::f64, y.data());
      for (std::size_t i = 0; i < x.size(); ++i) {
        if (x[i] == y[i] || (std::isnan(x[i]) && std::isnan(y[i]))) continue;
        ++unlike;
        const double d = std::abs(x[i] - y[i]);
        if (std::isnan(d) || d > most) most = d;
        norm += d * d;
      }
    });
    if (unlike == 0) {
      ++same;
    } else {
      ++different;
      fmt::print("{}: {} of {} elements differ, by up to {:.3g}, norm of the difference {:.3g}\n", label(t), unlike, t.elements(), most, std::sqrt(norm));
    }
  }
  for (const io::stored_tensor& u : b.m.tensors)
    if (a.find(u.role, u.name) == nullptr) {
      ++different;
      fmt::print("{}: missing and {}\n", label(u), io::shape_text(u.extents()));
    }
  fmt::print("{} tensors equal, {} different\n", same, different);
  return different == 0 ? 0 : 1;
}

int merge(const options& o, const std::string& path, const std::string& out) {
  require_writable("checkpoint merge", out, output::folder);
  require_no_checkpoint("checkpoint merge", out);
  const io::checkpoint c = open_any(path);
  io::checkpoint_reader reader(c);
  const auto [config, companions] = files_of(c);
  io::require_model(c, config, false);
  const io::element stored = c.m.tensors.front().type;
  const plait::dtype type = stored == io::element::bf16 ? plait::dtype::bf16 : plait::dtype::f32;
  const folder_plan plan(config, type, o.export_shard_bytes);
  if (const std::string problem = room_problem(out, plan); !problem.empty()) throw usage_error("checkpoint merge " + out + ": " + problem);
  write_model_folder(out, plan, companions, true, [&](const std::string& name, plait::dtype as) {
    const io::stored_tensor* const t = c.find(io::tensor_role::parameter, name);
    if (t == nullptr) throw io::input_error(c.path, "", "parameter " + name + " is missing");
    io::tensor_box box;
    for (std::size_t d = 0; d < static_cast<std::size_t>(t->rank); ++d) box.count[d] = t->shape[d];
    std::vector<char> bytes(static_cast<std::size_t>(t->elements()) * plait::size_of(as));
    reader.read(*t, box, as, bytes.data());
    return bytes;
  });
  fmt::print("merged {} into {}\n", c.path, out);
  return 0;
}

}  // namespace

int checkpoint(const options& o) {
  if (o.tool == "ls") return list(o.folders[0]);
  if (o.tool == "verify") return verify(o.folders[0]);
  if (o.tool == "diff") return diff(o.folders[0], o.folders[1]);
  return merge(o, o.folders[0], o.folders[1]);
}

}  // namespace trainer
