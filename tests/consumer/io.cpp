// With the io component: JSON is there too.
#include <nlohmann/json.hpp>
#include <plait/plait.hpp>

int main() { return nlohmann::json::parse("[0]")[0].get<int>(); }
