#include "export.hpp"

#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "plait/io/json_lines.hpp"
#include "plait/train/gather_texts.hpp"

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

constexpr const char* index_name = "model.safetensors.index.json";

bool numbered(const std::string& name) {
  return name.size() == std::strlen("model-00001-of-00001.safetensors") && name.starts_with("model-") && name.substr(11, 4) == "-of-" &&
         name.ends_with(".safetensors");
}

/// Weights that an earlier export left in the folder: readers prefer model.safetensors to an index, and would take the old for the new.
void remove_other_weights(const std::string& folder, const std::set<std::string>& ours) {
  for (const std::string& name : plait::io::names_in(folder))
    if ((numbered(name) || name == "model.safetensors" || name == index_name) && !ours.contains(name))
      plait::io::writes().remove_file((folder + "/" + name).c_str());
}

/// Where the value of a field of the outermost object lies in the text of valid JSON, and its length: 0 if the field is not there. The value
/// is a text, a number or null.
std::pair<std::size_t, std::size_t> scalar_of(const std::string& text, std::string_view name) {
  const auto end_of_text = [&](std::size_t open) {
    std::size_t at = open + 1;
    while (at < text.size() && text[at] != '"') at += text[at] == '\\' ? 2 : 1;
    return at + 1;
  };
  constexpr const char* spaces = " \t\r\n";
  int depth = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '{' || text[at] == '[') ++depth;
    if (text[at] == '}' || text[at] == ']') --depth;
    if (text[at] != '"') continue;
    const std::size_t end = end_of_text(at), colon = text.find_first_not_of(spaces, end);
    if (depth == 1 && std::string_view(text).substr(at + 1, end - at - 2) == name && colon != text.npos && text[colon] == ':') {
      const std::size_t begin = text.find_first_not_of(spaces, colon + 1);
      return {begin, (text[begin] == '"' ? end_of_text(begin) : text.find_first_of(" \t\r\n,}", begin)) - begin};
    }
    at = end - 1;
  }
  return {0, 0};
}

}  // namespace

plait::dtype folder_plan::type_of(const plait::io::tensor_write& w) const { return w.trained ? type : plait::dtype::f32; }
plait::io::tensor_header folder_plan::header_of(const plait::io::tensor_write& w) const { return {w.name, plait::io::element_of(type_of(w)), w.shape}; }

folder_plan::folder_plan(const plait::io::model_config& of, plait::dtype as, std::uint64_t file_bytes)
    : config(of), type(as), tensors(plait::io::export_tensors(of)), files(1) {
  // Files are filled in the order of names, so a layer's tensors lie together and only few whole tensors are held at a time.
  std::sort(tensors.begin(), tensors.end(), [](const plait::io::tensor_write& a, const plait::io::tensor_write& b) { return a.name < b.name; });
  std::uint64_t in_file = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::uint64_t size = header_of(tensors[i]).bytes();
    if (in_file > 0 && in_file + size > file_bytes) files.emplace_back(), in_file = 0;
    files.back().push_back(i);
    in_file += size;
    bytes += size;
  }
}

std::string folder_plan::file_name(std::size_t f) const {
  const auto five = [](std::size_t n) { return plait::io::zero_padded(n, 5); };
  return files.size() == 1 ? "model.safetensors" : "model-" + five(f + 1) + "-of-" + five(files.size()) + ".safetensors";
}

std::string room_problem(const std::string& folder, const folder_plan& plan) {
  std::uint64_t replaced = 0;
  const std::string here = ::access(folder.c_str(), F_OK) == 0 ? folder : parent_folder(folder);
  if (plan.files.size() > 1 && here == folder)  // file by file in the place of an earlier export's
    for (const std::string& name : plait::io::names_in(folder)) {
      struct stat status {};
      if (numbered(name) && ::stat((folder + "/" + name).c_str(), &status) == 0) replaced += static_cast<std::uint64_t>(status.st_size);
    }
  struct statvfs space {};
  if (::statvfs(here.c_str(), &space) != 0) return "";  // no reason to think that writing fails
  const std::uint64_t free = static_cast<std::uint64_t>(space.f_bavail) * static_cast<std::uint64_t>(space.f_frsize);
  if (free + replaced >= plan.bytes) return "";
  return "it needs " + std::to_string(plan.bytes) + " bytes, " + std::to_string(free) + " are free; make room or choose another folder";
}

std::string config_text(const plait::io::model_config& config, plait::dtype type) {
  std::string text = config.raw_text;
  const std::string now = type == plait::dtype::bf16 ? "bfloat16" : "float32";
  if (now == config.dtype) return text;
  for (const char* name : {"dtype", "torch_dtype"})
    if (const auto [begin, size] = scalar_of(text, name); size > 0) text.replace(begin, size, '"' + now + '"');
  return text;
}

void write_model_folder(const std::string& folder, const folder_plan& plan, const std::vector<std::pair<std::string, std::string>>& companions, bool writer,
                        const whole_tensor& fetch) {
  namespace io = plait::io;
  const std::vector<io::tensor_write>& tensors = plan.tensors;
  std::map<std::string, int> uses;
  for (const io::tensor_write& w : tensors) ++uses[w.memory_name];
  std::exception_ptr failed;  // the disk; what follows is only fetched
  const auto on_disk = [&](const auto& write) {
    if (!writer || failed) return;
    try {
      write();
    } catch (const io::output_error&) {
      failed = std::current_exception();
    }
  };
  on_disk([&] {
    if (io::writes().make_folder(folder.c_str()) != 0 && errno != EEXIST) throw io::output_error(folder, "creating the folder", std::strerror(errno));
    // While numbered files are replaced one by one, no index may say that they belong together.
    if (plan.files.size() > 1 && io::writes().remove_file((folder + "/" + index_name).c_str()) != 0 && errno != ENOENT)
      throw io::output_error(folder + "/" + index_name, "removing", std::strerror(errno));
  });
  std::map<std::string, std::vector<char>> held;
  std::set<std::string> names;
  std::string map;
  for (std::size_t f = 0; f < plan.files.size(); ++f) {
    const std::vector<std::size_t>& in_file = plan.files[f];
    const std::string name = plan.file_name(f);
    names.insert(name);
    std::vector<io::tensor_header> headers;
    for (const std::size_t i : in_file) {
      headers.push_back(plan.header_of(tensors[i]));
      map += map.empty() ? "\n    " : ",\n    ";
      io::append_json_string(map, tensors[i].name);
      map += ": \"" + name + "\"";
    }
    const auto bytes_of = [&](const io::tensor_write& w, auto sink) {
      auto at = held.find(w.memory_name);
      if (at == held.end()) at = held.emplace(w.memory_name, fetch(w.memory_name, plan.type_of(w))).first;
      sink(at->second, static_cast<std::size_t>(w.from_offset) * plait::size_of(plan.type_of(w)));
      if (--uses[w.memory_name] == 0) held.erase(at);
    };
    std::size_t written = 0;
    on_disk([&] {
      io::write_safetensors(folder + "/" + name, headers, {{"format", "pt"}}, [&](const io::tensor_header& h, std::size_t i, const io::tensor_sink& sink) {
        bytes_of(tensors[in_file[i]], [&](const std::vector<char>& whole_one, std::size_t at) { sink(whole_one.data() + at, static_cast<std::size_t>(h.bytes())); });
        ++written;
      });
    });
    // The same tensors in the same order, since fetching one takes every rank.
    const std::vector<std::size_t> order = io::file_order(headers);
    for (; written < order.size(); ++written) bytes_of(tensors[in_file[order[written]]], [](const std::vector<char>&, std::size_t) {});
  }
  on_disk([&] {
    if (plan.files.size() > 1) {
      names.insert(index_name);
      io::write_text_file(folder + "/" + index_name, "{\n  \"metadata\": {\n    \"total_size\": " + std::to_string(plan.bytes) + "\n  },\n  \"weight_map\": {" + map + "\n  }\n}\n");
    }
    remove_other_weights(folder, names);
    for (const auto& [name, text] : companions) io::write_text_file(folder + "/" + name, text);
    io::write_text_file(folder + "/config.json", config_text(plan.config, plan.type));
  });
  if (failed) std::rethrow_exception(failed);
}

std::string export_folder(plait::context& c, rank_model& m, const session& s, const std::string& folder) {
  const auto fetch = [&](const std::string& name, plait::dtype type) {
    for (const plait::parameter_slot& slot : m.store.slots)
      if (slot.name == name) return whole(c, slot, slot.master, type);
    throw std::logic_error("export: no parameter is named " + name);
  };
  const folder_plan plan(s.config, m.store.types.parameter, s.o.export_shard_bytes);
  std::string problem = c.rank == 0 ? room_problem(folder, plan) : "";
  problem = plait::gather_texts(c, problem)[0];
  if (!problem.empty()) return problem;
  try {
    write_model_folder(folder, plan, s.companions, c.rank == 0, fetch);
  } catch (const plait::io::output_error& e) {
    problem = e.what();
  }
  return plait::gather_texts(c, problem)[0];
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
