// safetensors_file. First byte odd: the rest is the file. Even: the second byte says how many bytes of data follow the header,
// which is the rest.
#include "plait/io/safetensors.hpp"

#include <cstring>

#include "support.hpp"

using namespace plait::io;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static fuzz::memory_file memory;
  if (size < 2) return 0;
  std::string bytes(fuzz::text_of(data + 1, size - 1));
  if (data[0] % 2 == 0) {
    bytes = std::string(8, '\0') + bytes.substr(1);
    const std::uint64_t header = bytes.size() - 8;
    std::memcpy(bytes.data(), &header, 8);
    bytes.append(data[1], 'x');
  }
  memory.set(bytes);
  fuzz::read([&] {
    const safetensors_file file(memory.path(), "f");
    std::uint64_t at = 0;
    for (const tensor_entry& entry : file.entries()) {
      fuzz::require(entry.begin == at && entry.end >= at, "data are without gaps");
      at = entry.end;
      fuzz::require(file.find(entry.name) == &entry, "a name finds its tensor");
      if (!entry.loadable) continue;
      std::string values(static_cast<std::size_t>(entry.bytes()), '\0');
      file.read(entry, values.data());
    }
    fuzz::require(at <= bytes.size(), "data lie in the file");
  });
  return 0;
}
