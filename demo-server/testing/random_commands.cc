#include "demo-server/testing/random_commands.h"

#include <sstream>
#include <string_view>

namespace liveexec::demo {
namespace {

constexpr size_t kKeysOfAType = 12;

// A word of one of these letters is replaced: S, C, L, E, Z, H a key that mostly holds a string, a
// counter, a list, a set, a sorted set, a hash; A any key; D a database; v an element, n a small
// number, p a small positive one, f a fraction, t a time to live in s, m in ms, u as Unix time in
// s, w in ms. The others stand for themselves.
constexpr std::string_view kTemplates[] = {
    "set S v",
    "set S v PX m",
    "set S v KEEPTTL",
    "set S v XX GET",
    "setnx S v",
    "setex S t v",
    "psetex S m v",
    "getset S v",
    "getdel S",
    "getex S EX t",
    "getex S PERSIST",
    "append S v",
    "setrange S p v",
    "mset S v S v A v",
    "msetnx S v S v",
    "incr C",
    "decr C",
    "incrby C n",
    "decrby C n",
    "incrbyfloat C f",
    "setbit S p 1",
    "bitop OR S S S",
    "bitop NOT S S",
    "lpush L v v",
    "rpush L v",
    "lpushx L v",
    "rpushx L v",
    "lpop L",
    "rpop L p",
    "linsert L BEFORE v v",
    "lset L n v",
    "lrem L n v",
    "ltrim L n n",
    "lmove L L LEFT RIGHT",
    "rpoplpush L L",
    "blmove L L RIGHT LEFT 0.01",
    "brpoplpush L L 0.01",
    "lmpop 2 L L LEFT COUNT p",
    "blmpop 0.01 1 L RIGHT",
    "blpop L L 0.01",
    "brpop L 0.01",
    "sadd E v v v",
    "srem E v v",
    "spop E",
    "spop E p",
    "smove E E v",
    "sunionstore E E E",
    "sinterstore E E E",
    "sdiffstore E E E",
    "zadd Z f v f v",
    "zadd Z INCR f v",
    "zrem Z v v",
    "zincrby Z f v",
    "zpopmin Z",
    "zpopmax Z p",
    "zmpop 2 Z Z MIN",
    "bzmpop 0.01 1 Z MAX COUNT p",
    "bzpopmin Z 0.01",
    "bzpopmax Z 0.01",
    "zremrangebyrank Z n n",
    "zremrangebyscore Z f f",
    "zremrangebylex Z - +",
    "zrangestore Z Z n n",
    "zunionstore Z 2 Z Z",
    "zinterstore Z 2 Z Z",
    "zdiffstore Z 2 Z Z",
    "hset H v v v v",
    "hsetnx H v v",
    "hmset H v v",
    "hdel H v v",
    "hincrby H v n",
    "hincrbyfloat H v f",
    "del A A",
    "unlink A",
    "expire A t",
    "pexpire A m",
    "expireat A u",
    "pexpireat A w",
    "persist A",
    "rename A A",
    "renamenx A A",
    "move A D",
    "copy A A REPLACE",
    "copy A A DB D",
    "sort L ALPHA STORE L",
    "sort E ALPHA STORE L",
    "swapdb D D",
    "debug populate p S p",
    "function flush",
};
// Seldom.
constexpr std::string_view kEmptying[] = {"flushdb", "flushall"};

std::vector<std::string> Words(std::string_view text) {
  std::istringstream in{std::string(text)};
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

// As in the table of commands: a subcommand's name has that of its container.
std::string NameOf(std::string_view text) {
  const std::vector<std::string> words = Words(text);
  const bool container = words[0] == "debug" || words[0] == "function";
  return container ? words[0] + "|" + words[1] : words[0];
}

}  // namespace

std::vector<std::string> RandomCommands::Names() {
  std::vector<std::string> names;
  for (std::string_view text : kTemplates) names.push_back(NameOf(text));
  for (std::string_view text : kEmptying) names.push_back(NameOf(text));
  return names;
}

std::vector<std::string> RandomCommands::Next() {
  constexpr size_t kSeldom = 1000;
  const std::string_view text = Number(kSeldom) == 0 ? kEmptying[Number(std::size(kEmptying))]
                                                     : kTemplates[Number(std::size(kTemplates))];
  std::vector<std::string> words = Words(text);
  for (size_t i = 1; i < words.size(); ++i) {
    if (words[i].size() == 1) words[i] = Argument(words[i][0]);
  }
  return words;
}

std::string RandomCommands::Key(char type) {
  constexpr std::string_view kTypes = "SCLEZH";
  constexpr size_t kOtherType = 20;
  if (type == 'A' || Number(kOtherType) == 0) type = kTypes[Number(kTypes.size())];
  return type + std::to_string(Number(kKeysOfAType));
}

std::string RandomCommands::Argument(char kind) {
  constexpr int64_t kUnix = 1'700'000'000;  // long ago: those keys are gone at once
  switch (kind) {
    case 'S':
    case 'C':
    case 'L':
    case 'E':
    case 'Z':
    case 'H':
    case 'A':
      return Key(kind);
    case 'D':
      return std::to_string(Number(3));
    case 'v':
      return Number(4) == 0 ? std::string(Number(300), 'x') : std::to_string(Number(12));
    case 'n':
      return std::to_string(static_cast<int64_t>(Number(12)) - 4);
    case 'p':
      return std::to_string(1 + Number(8));
    case 'f':
      return std::to_string(Number(40)) + "." + std::to_string(Number(100));
    case 't':
      return std::to_string(1 + Number(1000));
    case 'm':
      return std::to_string(1 + Number(Number(2) == 0 ? 5 : 1'000'000));
    case 'u':
      return std::to_string(Number(4) == 0 ? kUnix : kUnix * 2);
    case 'w':
      return std::to_string((Number(4) == 0 ? kUnix : kUnix * 2) * 1000);
    default:
      return std::string(1, kind);
  }
}

}  // namespace liveexec::demo
