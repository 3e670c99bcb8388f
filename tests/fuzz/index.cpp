// hf_folder on a folder whose model.safetensors.index.json is the input; a.safetensors and b.safetensors are real.
#include <filesystem>
#include <fstream>
#include <vector>

#include "plait/io/hf_folder.hpp"
#include "plait/io/write_safetensors.hpp"
#include "support.hpp"

using namespace plait::io;

namespace {

struct model_folder {
  std::string path;
  model_folder() {
    const std::filesystem::path memory = "/dev/shm";
    const auto base = std::filesystem::is_directory(memory) ? memory : std::filesystem::temp_directory_path();
    std::string pattern = (base / "plait-fuzz-XXXXXX").string();
    fuzz::require(::mkdtemp(pattern.data()) != nullptr, "mkdtemp");
    path = pattern;
    const std::vector<float> values(4, 1.0f);
    write_safetensors(path + "/a.safetensors",
                      {{"x", element::f32, {2, 2}, values.data()}, {"y", element::f32, {1}, values.data()}});
    write_safetensors(path + "/b.safetensors", {{"z", element::f32, {4}, values.data()}});
  }
  ~model_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const model_folder folder;
  {
    std::ofstream out(folder.path + "/model.safetensors.index.json", std::ios::binary | std::ios::trunc);
    out << fuzz::text_of(data, size);
  }
  fuzz::read([&] {
    const hf_folder model(folder.path);
    fuzz::require(model.size() > 0 && model.size() <= 3 && model.file_count() <= 2, "only what is there is offered");
    for (const std::string& name : model.names()) {
      const auto place = model.find(name);
      fuzz::require(static_cast<bool>(place) && place.entry->name == name, "a name finds its tensor");
    }
  });
  return 0;
}
