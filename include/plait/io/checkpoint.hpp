#pragma once
// A checkpoint open for reading: our own folders (plait.json), and folders of PyTorch's distributed safetensors writer
// (shard-*.safetensors with DCP_SHARDING_INFO). Every byte that is read from our own is verified against the manifest's digests.
#include <dirent.h>
#include <unistd.h>

#include <memory>
#include <utility>

#include "plait/io/manifest_reader.hpp"
#include "plait/io/load_tensors.hpp"

namespace plait::inline v0_1::io {

/// step-00000012
inline std::string step_folder_name(std::int64_t step) { return "step-" + zero_padded(static_cast<std::uint64_t>(step), 8); }
/// The step that a folder's name says, or -1.
inline std::int64_t step_of_folder(std::string_view name) {
  if (!name.starts_with("step-") || name.size() < 13 || name.size() > 23) return -1;
  std::int64_t step = 0;
  for (const char c : name.substr(5)) {
    if (c < '0' || c > '9') return -1;
    step = 10 * step + (c - '0');
  }
  return step_folder_name(step) == name ? step : -1;
}

/// The names in a folder, sorted; empty where it cannot be opened.
inline std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> open(::opendir(folder.c_str()), &::closedir);
  if (!open) return names;
  while (const dirent* entry = ::readdir(open.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// A checkpoint whose manifest has been read and whose files are there with the right sizes.
struct checkpoint {
  std::string path;
  manifest m;
  bool verified = true;  ///< false: another program's folder, without digests
  std::map<std::pair<tensor_role, std::string>, std::size_t> index;

  const stored_tensor* find(tensor_role role, const std::string& name) const {
    const auto at = index.find({role, name});
    return at == index.end() ? nullptr : &m.tensors[at->second];
  }
  void make_index() {
    for (std::size_t i = 0; i < m.tensors.size(); ++i) index[{m.tensors[i].role, m.tensors[i].name}] = i;
  }
};

namespace detail {

inline bool is_regular(const std::string& path, std::uint64_t& size) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return false;
  size = static_cast<std::uint64_t>(status.st_size);
  return true;
}
inline bool is_folder(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

/// Missing and cut files, found before anything is read.
inline void require_files(const checkpoint& c) {
  for (const stored_file& f : c.m.files) {
    if (::access((c.path + "/" + f.name).c_str(), F_OK) != 0 && errno == ENOENT)
      throw input_error(c.path + "/" + f.name, "", "is not there, though the manifest lists it; it was removed, use another checkpoint");
    const std::string real = resolve_inside(c.path, f.name, c.path + "/" + manifest_name, "files");
    std::uint64_t size = 0;
    if (!is_regular(real, size) || size != f.bytes)
      throw input_error(c.path + "/" + f.name, "", "has " + std::to_string(size) + " bytes, the manifest says " + std::to_string(f.bytes) + "; it was cut or replaced, use another checkpoint");
  }
}

/// DCP_SHARDING_INFO: {"name": {"saved_offsets": [..]}, ..}
inline std::map<std::string, std::vector<std::int64_t>> sharding_info(const std::string& file, std::string_view text) {
  const auto fail = [&](const std::string& name, const char* why) -> input_error {
    return input_error(file, "DCP_SHARDING_INFO", in_quotes(name) + " " + why + "; save it again");
  };
  tree_builder builder(file, 4'000'000);
  parse_json(file, "DCP_SHARDING_INFO", text, 8, builder);
  std::map<std::string, std::vector<std::int64_t>> out;
  if (builder.root.type != json_value::kind::object) throw input_error(file, "DCP_SHARDING_INFO", "is no object; save it again");
  for (std::size_t i = 0; i < builder.root.keys.size(); ++i) {
    const std::string& name = builder.root.keys[i];
    const json_value* offsets = builder.root.items[i].find("saved_offsets");
    if (offsets == nullptr || offsets->type != json_value::kind::array) throw fail(name, "has no list saved_offsets");
    std::vector<std::int64_t>& at = out[name];
    for (const json_value& v : offsets->items) {
      if (v.type != json_value::kind::natural || v.natural > (std::uint64_t{1} << 62)) throw fail(name, "has an offset that is no whole number");
      at.push_back(static_cast<std::int64_t>(v.natural));
    }
  }
  return out;
}

}  // namespace detail

/// Whether a folder is one checkpoint of ours, by its manifest's presence.
inline bool holds_manifest(const std::string& folder) {
  std::uint64_t size = 0;
  return detail::is_regular(folder + "/" + manifest_name, size);
}
/// Whether it holds PyTorch's shards (and no manifest).
inline bool holds_shards(const std::string& folder) {
  for (const std::string& name : names_in(folder))
    if (name.starts_with("shard-") && name.ends_with(".safetensors")) return !holds_manifest(folder);
  return false;
}

inline manifest read_manifest(const std::string& folder) {
  if (!holds_manifest(folder)) throw input_error(folder, "", "has no " + std::string(manifest_name) + ", so it is no whole checkpoint; use another one");
  const std::string shown = folder + "/" + manifest_name;
  return parse_manifest(shown, read_text_file(resolve_inside(folder, manifest_name, folder, ""), std::uint64_t{4} << 30, shown));
}

/// Steps that have a folder under `folder`, ascending; whether they are whole only read_manifest tells.
inline std::vector<std::int64_t> steps_in(const std::string& folder) {
  std::vector<std::int64_t> steps;
  for (const std::string& name : names_in(folder))
    if (const std::int64_t step = step_of_folder(name); step >= 0) steps.push_back(step);
  std::sort(steps.begin(), steps.end());
  return steps;
}

/// `path` itself if it is a checkpoint, or its step of the highest number with a valid manifest. Never a time stamp or a pointer file.
inline std::string latest_checkpoint(std::string path, std::vector<std::string>* passed_over = nullptr) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  if (holds_manifest(path)) return path;
  if (!detail::is_folder(path))
    throw input_error(path, "", std::string(::access(path.c_str(), F_OK) == 0 ? "is not a folder" : "is not there") + "; name a folder that --save wrote");
  const std::vector<std::int64_t> steps = steps_in(path);
  std::string first_problem;
  for (std::size_t i = steps.size(); i-- > 0;) {
    const std::string folder = path + "/" + step_folder_name(steps[i]);
    try {
      if (read_manifest(folder).training.step == steps[i]) return folder;
      throw input_error(folder + "/" + manifest_name, "step", "is not that of the folder's name");
    } catch (const input_error& e) {
      if (first_problem.empty()) first_problem = e.what();
      if (passed_over != nullptr) passed_over->push_back(e.what());
    }
  }
  if (!first_problem.empty()) throw input_error(path, "", "holds no valid checkpoint; the latest: " + first_problem);
  std::uint64_t size = 0;
  const bool model = detail::is_regular(path + "/config.json", size);
  throw input_error(path, "", "holds no checkpoint (no folder step-XXXXXXXX with " + std::string(manifest_name) + "); name a folder that --save wrote" +
                                  (model ? ", or start from this model with --model" : ""));
}

inline checkpoint open_checkpoint(const std::string& path) {
  checkpoint c;
  c.path = latest_checkpoint(path);
  c.m = read_manifest(c.path);
  c.make_index();
  detail::require_files(c);
  return c;
}

/// A folder of PyTorch's writer as a checkpoint of parameters. Global shapes are not in it: they are what the chunks span, and are
/// checked against the model like any other's.
inline checkpoint open_shards(const std::string& path) {
  checkpoint c;
  c.path = path;
  c.verified = false;
  std::map<std::string, stored_tensor> tensors;
  for (const std::string& name : names_in(path)) {
    if (!name.starts_with("shard-") || !name.ends_with(".safetensors")) continue;
    const std::string shown = path + "/" + name;
    const safetensors_file file(resolve_inside(path, name, path, ""), shown);
    const auto metadata = file.metadata().find("DCP_SHARDING_INFO");
    if (metadata == file.metadata().end())
      throw input_error(shown, "__metadata__", "has no DCP_SHARDING_INFO; it is no shard of PyTorch's distributed writer");
    const auto offsets = detail::sharding_info(shown, metadata->second);
    std::uint64_t size = 0;
    detail::is_regular(shown, size);
    for (const tensor_entry& e : file.entries()) {
      file.require_loadable(e);
      const auto at = offsets.find(e.name);
      if (e.rank > static_cast<std::uint64_t>(max_chunk_rank)) throw input_error(shown, "tensor " + in_quotes(e.name), "has more than 4 dimensions");
      if (at == offsets.end() || at->second.size() != e.rank)
        throw input_error(shown, "tensor " + in_quotes(e.name), "has no offsets in DCP_SHARDING_INFO; save it again");
      if (!detail::known_type(name_of(e.type))) throw input_error(shown, "tensor " + in_quotes(e.name), "is a type that cannot be loaded");
      const auto [place, fresh] = tensors.try_emplace(e.name);
      stored_tensor& t = place->second;
      if (fresh) {
        t.name = e.name;
        t.type = e.type;
        t.rank = static_cast<int>(e.rank);
      } else if (t.rank != static_cast<int>(e.rank) || t.type != e.type) {
        throw input_error(shown, "tensor " + in_quotes(e.name), "has another rank or type than in the files before; save it again");
      }
      if (e.bytes() == 0) continue;
      tensor_chunk chunk;
      chunk.file = static_cast<int>(c.m.files.size());
      chunk.position = file.data_begin() + e.begin;
      for (std::size_t d = 0; d < e.rank; ++d) {
        chunk.box.start[d] = at->second[d];
        chunk.box.count[d] = e.extent[d];
        std::int64_t end = 0;
        if (__builtin_add_overflow(at->second[d], e.extent[d], &end)) throw input_error(shown, "tensor " + in_quotes(e.name), "has an offset above 2^63");
        t.shape[d] = std::max(t.shape[d], end);
      }
      t.chunks.push_back(chunk);
    }
    c.m.files.push_back({name, size, file.data_begin(), {}});
  }
  for (auto& [name, t] : tensors) {
    require_tiling(path, t);
    c.m.tensors.push_back(std::move(t));
  }
  c.make_index();
  return c;
}

/// Reads boxes of a checkpoint's tensors, verifying what it reads block by block. One a thread: it keeps a block a file.
class checkpoint_reader {
 public:
  explicit checkpoint_reader(const checkpoint& c) : c_(&c), open_(c.m.files.size()) {}

  std::uint64_t bytes_read() const { return bytes_read_; }

  /// Fills `out` (row-major, of the box's shape, elements of type `to`) with a box of the tensor.
  void read(const stored_tensor& t, const tensor_box& wanted, dtype to, void* out) {
    tensor_box common;
    const std::size_t stored = bits_of(t.type) / 8, result = size_of(to), rank = static_cast<std::size_t>(t.rank);
    const bool same = dtype_of(t.type) == to;
    for (const tensor_chunk& chunk : t.chunks) {
      if (!intersect(chunk.box, wanted, t.rank, common)) continue;
      // Run: dims at the end that are whole in the chunk and in the wanted box, and the one before them.
      std::size_t outer = rank;
      std::int64_t run = 1;
      while (outer > 0) {
        const std::size_t d = --outer;
        run *= common.count[d];
        if (common.count[d] != chunk.box.count[d] || common.count[d] != wanted.count[d]) break;
      }
      std::array<std::int64_t, max_chunk_rank> at{};
      const auto bytes = static_cast<std::size_t>(run) * stored;
      while (true) {
        std::int64_t from = 0, place = 0;
        for (std::size_t d = 0; d < rank; ++d) {
          const std::int64_t global = common.start[d] + at[d];
          from = from * chunk.box.count[d] + (global - chunk.box.start[d]);
          place = place * wanted.count[d] + (global - wanted.start[d]);
        }
        char* const target = static_cast<char*>(out) + static_cast<std::size_t>(place) * result;
        const std::uint64_t position = chunk.position + static_cast<std::uint64_t>(from) * stored;
        if (same) {
          read_bytes(chunk.file, position, bytes, target, t);
        } else {
          run_.resize(bytes);
          read_bytes(chunk.file, position, bytes, run_.data(), t);
          convert_elements(t.type, run_.data(), to, target, static_cast<std::size_t>(run));
        }
        std::size_t d = outer;
        while (d > 0 && ++at[d - 1] == common.count[d - 1]) at[--d] = 0;
        if (d == 0) break;
      }
    }
  }

  /// A whole file that is no tensors (config.json), verified.
  std::string read_file(int file) {
    std::string text(static_cast<std::size_t>(c_->m.files[static_cast<std::size_t>(file)].bytes), '\0');
    read_bytes(file, 0, text.size(), text.data());
    return text;
  }

  /// Verifies all of a file.
  void verify(int file) {
    const stored_file& f = c_->m.files[static_cast<std::size_t>(file)];
    for (std::size_t b = 0; b < f.blocks.size(); ++b) block(file, b);
  }

 private:
  struct open_file {
    std::unique_ptr<input_file> file;
    std::vector<char> data;
    std::size_t block = ~std::size_t{0};
  };

  open_file& opened(int file) {
    open_file& o = open_[static_cast<std::size_t>(file)];
    if (o.file) return o;
    const stored_file& f = c_->m.files[static_cast<std::size_t>(file)];
    o.file = std::make_unique<input_file>(resolve_inside(c_->path, f.name, c_->path, ""), c_->path + "/" + f.name);
    if (o.file->size() != f.bytes) throw input_error(o.file->path(), "", "has another size than the manifest says; use another checkpoint");
    if (c_->verified)
      for (std::uint64_t at = 0; at < f.header; at += static_cast<std::uint64_t>(c_->m.block_bytes)) block(file, static_cast<std::size_t>(at / static_cast<std::uint64_t>(c_->m.block_bytes)));
    return o;
  }
  /// Brings a block in and checks it.
  open_file& block(int file, std::size_t number, const stored_tensor* reading = nullptr) {
    open_file& o = open_[static_cast<std::size_t>(file)].file ? open_[static_cast<std::size_t>(file)] : opened(file);
    if (o.block == number) return o;
    const stored_file& f = c_->m.files[static_cast<std::size_t>(file)];
    const auto size = static_cast<std::uint64_t>(c_->m.block_bytes), from = number * size, count = std::min(size, f.bytes - from);
    o.block = ~std::size_t{0};
    o.data.resize(static_cast<std::size_t>(count));
    o.file->read(from, o.data.size(), o.data.data());
    bytes_read_ += count;
    if (digest_of(o.data.data(), o.data.size()) != f.blocks[number])
      throw input_error(o.file->path(), reading != nullptr ? "tensor " + in_quotes(reading->name) : "bytes " + std::to_string(from) + " to " + std::to_string(from + count),
                        "is damaged: its digest is not the one that was saved; use another checkpoint");
    o.block = number;
    return o;
  }
  void read_bytes(int file, std::uint64_t position, std::size_t count, void* out, const stored_tensor& t) { read_bytes(file, position, count, out, &t); }
  void read_bytes(int file, std::uint64_t position, std::size_t count, void* out, const stored_tensor* t = nullptr) {
    if (!c_->verified) {
      opened(file).file->read(position, count, out);
      bytes_read_ += count;
      return;
    }
    const auto size = static_cast<std::uint64_t>(c_->m.block_bytes);
    char* to = static_cast<char*>(out);
    while (count > 0) {
      const std::uint64_t number = position / size, inside = position % size;
      const open_file& o = block(file, static_cast<std::size_t>(number), t);
      const std::size_t part = std::min(count, o.data.size() - static_cast<std::size_t>(inside));
      std::memcpy(to, o.data.data() + inside, part);
      to += part;
      position += part;
      count -= part;
    }
  }

  const checkpoint* c_;
  std::vector<open_file> open_;
  std::vector<char> run_;
  std::uint64_t bytes_read_ = 0;
};

/// Refuses a checkpoint of another model, before anything is allocated: names and shapes of every parameter, in one line.
inline void require_model(const checkpoint& c, const model_config& config, bool with_optimizer) {
  std::map<std::string, std::vector<std::int64_t>> wanted;
  std::vector<std::string> optimised;
  for (const named_shape& t : memory_tensors(config)) {
    wanted[t.name] = t.shape;
    if (t.trained) optimised.push_back(t.name);
  }
  std::vector<std::string> problems;
  const auto text = [](std::span<const std::int64_t> shape) { return shape_text(shape); };
  for (const auto& [name, shape] : wanted) {
    const stored_tensor* const t = c.find(tensor_role::parameter, name);
    if (t == nullptr) problems.push_back(name + " is missing");
    else if (!std::equal(shape.begin(), shape.end(), t->extents().begin(), t->extents().end()))
      problems.push_back(name + " is " + text(t->extents()) + " there and " + text(shape) + " in the model");
  }
  for (const stored_tensor& t : c.m.tensors) {
    const auto at = wanted.find(t.name);
    if (at == wanted.end()) {
      const bool second_name = config.tied && t.name == "lm_head.weight";  // another program wrote the tied weight twice
      if (t.role == tensor_role::parameter && !second_name) problems.push_back(in_quotes(t.name, 80) + " belongs to no parameter");
    } else if (t.role != tensor_role::parameter && !std::equal(at->second.begin(), at->second.end(), t.extents().begin(), t.extents().end())) {
      problems.push_back(std::string(name_of(t.role)) + " of " + t.name + " is " + text(t.extents()));
    }
  }
  if (with_optimizer)
    for (const std::string& name : optimised)
      for (const tensor_role role : {tensor_role::moment1, tensor_role::moment2})
        if (c.find(role, name) == nullptr) problems.push_back(std::string(name_of(role)) + " of " + name + " is missing");
  if (problems.empty()) return;
  std::string all;
  for (std::size_t i = 0; i < problems.size() && i < 5; ++i) all += (i > 0 ? "; " : "") + problems[i];
  if (problems.size() > 5) all += "; and " + std::to_string(problems.size() - 5) + " more";
  throw input_error(c.path, "", "is a checkpoint of another model: " + all + "; load it with its own config.json");
}

}  // namespace plait::inline v0_1::io
