// Random commands that write, of every kind there is, on few keys.
#ifndef LIVEEXEC_DEMO_SERVER_TESTING_RANDOM_COMMANDS_H_
#define LIVEEXEC_DEMO_SERVER_TESTING_RANDOM_COMMANDS_H_

#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace liveexec::demo {

class RandomCommands {
 public:
  explicit RandomCommands(uint64_t seed) : random_(seed) {}

  // A command's arguments. One in a thousand empties a database.
  std::vector<std::string> Next();
  // Below `bound`.
  size_t Number(size_t bound) { return random_() % bound; }

  // The names of the commands that Next makes, "swapdb" and the like included.
  static std::vector<std::string> Names();

 private:
  std::string Argument(char kind);
  std::string Key(char type);

  std::mt19937_64 random_;
};

}  // namespace liveexec::demo

#endif  // LIVEEXEC_DEMO_SERVER_TESTING_RANDOM_COMMANDS_H_
