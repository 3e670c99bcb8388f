#include "export.hpp"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <map>

#include "plait/io/names.hpp"
#include "plait/io/safetensors.hpp"

namespace trainer {
namespace {

/// A whole tensor as host memory of the given type; empty but on rank 0.
std::vector<char> whole(plait::context& c, const plait::parameter_slot& s, const plait::view& shard, plait::dtype type) {
  const plait::array a = plait::gather_whole(c, s, shard);
  std::vector<char> out;
  if (c.rank != 0) return out;
  plait::view to = a.local;
  to.type = type;
  out.resize(to.bytes());
  to.data = out.data();
  c.ops->cast(c.exec, a.local, to);
  return out;
}

plait::io::element element_of(plait::dtype type) { return type == plait::dtype::bf16 ? plait::io::element::bf16 : plait::io::element::f32; }

/// config.json with the element type it now has; every other byte as it came.
std::string config_text(const session& s, plait::dtype type) {
  std::string text = s.config.raw_text;
  const std::string now = type == plait::dtype::bf16 ? "bfloat16" : "float32";
  if (now == s.config.dtype) return text;
  for (const char* key : {"\"dtype\"", "\"torch_dtype\""}) {
    const std::size_t at = text.find(key);
    if (at == std::string::npos) continue;
    const std::size_t open = text.find('"', text.find(':', at));
    const std::size_t close = text.find('"', open + 1);
    if (close != std::string::npos) text.replace(open + 1, close - open - 1, now);
    break;
  }
  return text;
}

}  // namespace

void export_folder(plait::context& c, rank_model& m, const session& s, const std::string& folder) {
  const plait::dtype type = m.store.types.parameter;
  std::map<std::string, std::vector<char>> tensors;
  for (const plait::parameter_slot& slot : m.store.slots) tensors[slot.name] = whole(c, slot, slot.master, type);
  if (c.rank != 0) return;
  if (::mkdir(folder.c_str(), 0777) != 0 && errno != EEXIST)
    throw usage_error("--export " + folder + ": cannot be created (" + std::strerror(errno) + ")");
  std::vector<plait::io::tensor_to_write> out;
  for (const plait::io::tensor_write& w : plait::io::export_tensors(s.config)) {
    const auto at = tensors.find(w.memory_name);
    if (at == tensors.end()) throw std::logic_error("export: no parameter is named " + w.memory_name);
    out.push_back({w.name, element_of(type), w.shape, at->second.data() + static_cast<std::size_t>(w.from_offset) * plait::size_of(type)});
  }
  plait::io::write_safetensors(folder + "/model.safetensors", out, {{"format", "pt"}});
  plait::io::write_text_file(folder + "/config.json", config_text(s, type));
}

void dump(plait::context& c, rank_model& m, const plait::array& logits, const std::string& path) {
  std::map<std::string, std::vector<char>> tensors;
  std::vector<plait::io::tensor_to_write> out;
  for (const plait::parameter_slot& slot : m.store.slots) {
    if (!slot.has_gradient) continue;  // not written: a parameter that no op reached must be seen to be missing
    std::vector<char>& memory = tensors["grad." + slot.name] = whole(c, slot, slot.accumulated, plait::dtype::f32);
    out.push_back({"grad." + slot.name, plait::io::element::f32, {slot.global, slot.global + slot.rank}, memory.data()});
  }
  if (c.rank != 0) return;
  plait::view narrow = logits.local;
  narrow.type = plait::dtype::f32;
  std::vector<char> memory(narrow.bytes());
  narrow.data = memory.data();
  c.ops->cast(c.exec, logits.local, narrow);
  out.push_back({"logits", plait::io::element::f32, {narrow.extent, narrow.extent + narrow.rank}, memory.data()});
  plait::io::write_safetensors(path, out, {});
}

}  // namespace trainer
