// Writes the seeds of the corpora: one well-formed input for each shape that a target knows.
//
//   bazel run //tests/fuzz:make_corpus -- "$PWD/tests/fuzz/corpus"
//
// Files named "seed-..." are its own; what fuzzing adds has other names.
#include <elf.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "core/syscalls.h"
#include "handoff/bulk_chunk.h"
#include "handoff/control_frame.h"
#include "handoff/manifest.h"
#include "handoff/testing/image_bytes.h"
#include "handoff/uv/images.capnp.h"
#include "tests/fuzz/demo_state.h"
#include "tests/fuzz/fuzzing.h"

namespace liveexec::fuzz {
namespace {

using std::string_literals::operator""s;

class Corpus {
 public:
  explicit Corpus(std::filesystem::path folder) : folder_(std::move(folder)) {}

  void Add(const std::string& target, const std::string& name, std::string_view bytes) {
    std::filesystem::create_directories(folder_ / target);
    std::ofstream file(folder_ / target / ("seed-" + name), std::ios::binary);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    FUZZ_CHECK(file.good());
  }

 private:
  std::filesystem::path folder_;
};

std::string Text(const std::vector<uint8_t>& bytes) { return {bytes.begin(), bytes.end()}; }

void AddImages(Corpus& corpus) {
  const std::string one_segment = Text(Words({0x0000000100000000, 0}));
  const std::string two_segments = Text(Words({0x0000000100000001, 1, 0, 0}));
  const ImageStamp stamp = {.generation = 1, .nonce = {9}};
  const std::vector<std::pair<const char*, std::string>> messages = {
      {"one-segment", one_segment}, {"two-segments", two_segments}, {"no-message", ""}};
  for (const auto& [name, message] : messages) {
    const std::string image = Text(ImageAround(stamp, {message.begin(), message.end()}));
    corpus.Add("image_header", name, "\0"s + image);
    corpus.Add("image_header", name + "-repaired"s, "\1"s + image);
  }
}

JournalEntry Entry(Outcome outcome) {
  JournalEntry entry;
  entry.upgrade = 3;
  entry.trigger = "control";
  entry.binary = "/srv/app";
  entry.from_version = "1.0";
  entry.to_version = "1.1";
  entry.outcome = outcome;
  entry.code = outcome == Outcome::kCommitted ? "" : "E_REHYDRATE";
  entry.message = "no";
  entry.fds_left_behind = {"17 eventfd (no role)"};
  entry.notes = {"a note"};
  entry.phases = {{"checking", 1, 2}, {"sealing", 3, 4}};
  return entry;
}

// The keys of a small server, as they are copied ahead.
void AddChunks(Corpus& corpus) {
  demo::EngineHarness server;
  demo::TestClient client(server);
  for (const char* command : {"SET k1 v", "SET k2 v PX 99999999", "RPUSH l a b", "SADD s 1 2",
                              "ZADD z 1 a 2 b", "HSET h f v"}) {
    client.Call(command);
  }
  for (uint8_t version = 0; version < 3; ++version) {
    auto chunk = BulkChunkWriter::Create(Syscalls::Kernel(), "seed");
    FUZZ_CHECK_OK(chunk.status());
    uint8_t records = 0;
    uint64_t cursor = 0;
    demo::Database& database = server.engine().keyspace().database(0);
    do {
      cursor = database.Scan(cursor, [&](const demo::Entry* entry) {
        capnp::MallocMessageBuilder message;
        FormatOf(version).WriteKey(*entry, message.initRoot<capnp::AnyPointer>());
        const bool marked = entry->expires_at != demo::kNoExpiry;
        FUZZ_CHECK_OK((*chunk)->Add(entry->hash, marked, message));
        ++records;
      });
    } while (cursor != 0);
    absl::StatusOr<bool> more = true;
    while (more.ok() && *more) more = (*chunk)->FinishSome();
    FUZZ_CHECK_OK(more.status());
    std::string bytes((*chunk)->TakeChunk().size(), '\0');
    FUZZ_CHECK(pread((*chunk)->TakeFd().get(), bytes.data(), bytes.size(), 0) ==
               static_cast<ssize_t>(bytes.size()));
    const std::string number = std::to_string(version);
    corpus.Add("bulk_chunk", "keys-v" + number, static_cast<char>(version << 1) + bytes);
    corpus.Add("bulk_chunk", "keys-made-v" + number,
               std::string{static_cast<char>(version << 1 | 1), static_cast<char>(records)} +
                   bytes.substr(64));
  }
}

void AddManifests(Corpus& corpus) {
  auto add = [&](const char* name, const Manifest& manifest) {
    capnp::MallocMessageBuilder message;
    WriteManifest(manifest, message.initRoot<image::Manifest>());
    corpus.Add("manifest", name, Flat(message));
  };
  Manifest manifest;
  add("empty", manifest);
  manifest.framework_abi = kFrameworkAbi;
  manifest.application = "app";
  manifest.version = "1.0";
  manifest.components = {{"one", 1, true, 64, 7}, {"two", 2, false, 0, 0}};
  for (uint64_t i = 0; i < 4; ++i) {
    manifest.fds.push_back({.component = i < 2 ? "one" : "two",
                            .role = "client",
                            .number = i,
                            .identity = {.kind = FdKind::kTcpStream, .socket_cookie = i + 1}});
  }
  add("fds", manifest);
  manifest.traits.arguments = {"app", "--flag"};
  manifest.traits.environment = {"PATH=/bin"};
  manifest.traits.command_name = "app";
  manifest.traits.rlimits = {{7, 1024, 4096}};
  manifest.current = Entry(Outcome::kCommitted);
  manifest.history = {Entry(Outcome::kAbandoned), Entry(Outcome::kResurrected)};
  add("everything", manifest);
}

void AddFrames(Corpus& corpus) {
  auto add = [&](const std::string& name, const auto& message) {
    const std::string frame = EncodeFrame(message);
    corpus.Add("control_frame", name, "\xff"s + frame);
    corpus.Add("control_frame", name + "-bare", "\xff"s + frame.substr(4));
  };
  add("status", ControlRequest{1, ControlStatusRequest{}});
  add("history", ControlRequest{2, ControlHistoryRequest{5}});
  add("upgrade", ControlRequest{3, ControlUpgrade{.binary = "/srv/app",
                                                  .max_blackout = absl::Milliseconds(5),
                                                  .sha256 = "00ff"}});
  add("doctor", ControlRequest{4, ControlDoctor{}});
  add("error", ControlResponse{1, ControlError{"E_BUSY", "an upgrade is under way"}});
  ControlProgress progress;
  progress.phase = "sealing";
  progress.detail = "2 images";
  add("progress", ControlResponse{1, progress});
  add("result", ControlResponse{1, Entry(Outcome::kRolledBack)});
  add("entries", ControlResponse{1, std::vector<JournalEntry>{Entry(Outcome::kCommitted)}});
  ControlStatus status;
  status.program.application = "app";
  status.program.components = {{"one", 2, 1}};
  status.last_result = Entry(Outcome::kAbandoned);
  add("answer", ControlResponse{1, status});
  add("report", ControlResponse{1, ControlDoctorReport{"all is well"}});
}

void AddTables(Corpus& corpus) {
  corpus.Add("fd_table", "empty", "\0\0\0\0"s);
  corpus.Add("fd_table", "each-kind",
             "\0\2\10\0\1\2\3\4\5\6\7\10\0\0\1\0\2\0\3\0\4\0\5\0\6\0\7\0"s);
  corpus.Add("fd_table", "in-batches", "\0\1\4\0\1\2\3\4\0\0\1\0\2\0\3\0\1\2\2"s);
  corpus.Add("fd_table", "swapped", "\0\0\2\2\3\2\1\0\0\0"s);
  corpus.Add("fd_table", "one-role-twice", "\0\0\2\2\3\2\0\4\1\4"s);
  corpus.Add("fd_table", "rehearsal", "\1\2\0\2\0\0\0\0"s);
  corpus.Add("fd_table", "damaged", "\0\1\4\0\1\2\3\4\0\1\1\2\2\3\3\205"s);
}

// A note as LIVEEXEC_NOTE_ writes it.
std::string Note(std::string_view owner, uint32_t type, std::string_view text) {
  auto padded = [](std::string bytes) {
    bytes.resize((bytes.size() + 3) / 4 * 4);
    return bytes;
  };
  const Elf64_Nhdr header = {static_cast<uint32_t>(owner.size()),
                             static_cast<uint32_t>(text.size()), type};
  return std::string(reinterpret_cast<const char*>(&header), sizeof(header)) +
         padded(std::string(owner)) + padded(std::string(text));
}

// The least that is a program: a loadable segment, an interpreter if wanted, notes.
std::string Elf(uint16_t type, std::string_view interpreter, std::string_view notes) {
  Elf64_Ehdr header = {};
  memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = type;
  header.e_machine = EM_X86_64;
  header.e_version = EV_CURRENT;
  header.e_phoff = sizeof(header);
  header.e_ehsize = sizeof(header);
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = 3;
  const uint64_t content = sizeof(header) + 3 * sizeof(Elf64_Phdr);
  Elf64_Phdr segments[3] = {};
  segments[0].p_type = PT_LOAD;
  segments[1].p_type = interpreter.empty() ? PT_NULL : PT_INTERP;
  segments[1].p_offset = content;
  segments[1].p_filesz = interpreter.size();
  segments[2].p_type = PT_NOTE;
  segments[2].p_align = 4;
  segments[2].p_offset = content + interpreter.size();
  segments[2].p_filesz = notes.size();
  return std::string(reinterpret_cast<const char*>(&header), sizeof(header)) +
         std::string(reinterpret_cast<const char*>(segments), sizeof(segments)) +
         std::string(interpreter) + std::string(notes);
}

void AddNotes(Corpus& corpus) {
  const std::string ours = "liveexec\0"s;
  const std::string notes =
      Note(ours, 1, "application\tapp\t1.0\t1") + Note(ours, 1, "component\tone\t2\t1") +
      Note(ours, 1, "drops\told") + Note(ours, 1, "epoch\t3") +
      Note("GNU\0"s, NT_GNU_BUILD_ID, "\1\2\3\4\5\6\7\10") + Note(ours, 1, "unknown\tkind");
  corpus.Add("elf_note", "segment-4", "\4"s + notes);
  corpus.Add("elf_note", "segment-8", "\10"s + notes);
  corpus.Add("elf_note", "twice", "\4"s + notes + notes);
  corpus.Add("elf_note", "program", "\0"s + Elf(ET_EXEC, "", notes));
  corpus.Add("elf_note", "dynamic", "\0"s + Elf(ET_DYN, "/lib64/ld-linux-x86-64.so.2\0"s, notes));
  corpus.Add("elf_note", "library", "\0"s + Elf(ET_DYN, "", notes));
  corpus.Add("elf_note", "script", "\0#!/bin/sh\n"s);
}

constexpr std::string_view kScript =
    "a SET k v PX 100000000\na RPUSH list a b \"\"\na SADD set x 1 2\na ZADD z 1.5 a -inf b\n"
    "a HSET h f v\na SELECT 15\na SET there 1\na CONFIG SET maxmemory-policy allkeys-lfu\n"
    "b MULTI\nb SET q 1\nb INCR q\nc SUBSCRIBE one two\nc PSUBSCRIBE p*\n";
constexpr std::string_view kWaiting =
    "a BLPOP nothing 0\nb WATCH k\nc HELLO 3 SETNAME me\nc CLIENT REPLY SKIP\nb MONITOR\n";
constexpr std::string_view kNested =
    "a SET \"\\x00bin\" \"\\xff\"\na APPEND s 0123456789\na SETBIT bits 77 1\na EXPIRE s 1000\n"
    "a LMOVE list list LEFT RIGHT\na ZUNIONSTORE z2 1 z WEIGHTS 2\na SPOP set\nb BLMPOP 0 1 k "
    "LEFT\n"
    "c BZPOPMIN zz 0\na RENAME s t\na COPY t u DB 3\n";

void AddScripts(Corpus& corpus) {
  for (const char version : {'0', '1', '2'}) {
    const std::string line = version + "\n"s;
    corpus.Add("export_import", "types-"s + version, line + std::string(kScript));
    corpus.Add("export_import", "waiting-"s + version, line + std::string(kWaiting));
    corpus.Add("export_import", "nested-"s + version, line + std::string(kNested));
  }
}

void AddState(Corpus& corpus) {
  demo::EngineHarness server;
  demo::TestClient client(server);
  client.Call("SET k v PXAT 99999999999999");
  client.Call("RPUSH list a b");
  client.Call("SADD set x 1");
  client.Call("ZADD z 1.5 a");
  client.Call("HSET h f v");
  client.Call("CONFIG SET maxmemory-policy allkeys-lfu");
  demo::TestClient busy(server);
  busy.Call("SUBSCRIBE one");
  busy.session.name = "busy";
  demo::TestClient queueing(server);
  queueing.Call("WATCH k");
  queueing.Call("MULTI");
  queueing.Call("SET a b");
  demo::TestClient waiting(server);
  waiting.Call("BLMOVE none other LEFT RIGHT 0");
  for (int version = 0; version < 3; ++version) {
    const demo::StateFormat& format = FormatOf(version);
    const std::string suffix = "-v" + std::to_string(version);
    const std::string session(1, static_cast<char>(version + 3));
    corpus.Add(
        "component_image", "keyspace" + suffix,
        std::string(1, static_cast<char>(version)) + KeyspaceExport(format, server.engine()));
    corpus.Add("component_image", "subscribed" + suffix,
               session + SessionExport(format, busy.session));
    corpus.Add("component_image", "queueing" + suffix,
               session + SessionExport(format, queueing.session));
    corpus.Add("component_image", "waiting" + suffix,
               session + SessionExport(format, waiting.session));
  }
}

capnp::Data::Reader Data(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

void FillStream(uv::image::Stream::Builder stream) {
  stream.setId(5);
  stream.initUnread(1).set(0, Data("half a request"));
  stream.initUnsent(1).set(0, Data("half a reply"));
  stream.setOpened(true);
  stream.initState().initAs<uv::image::Files>();
}

void AddComponents(Corpus& corpus) {
  auto add = [&]<typename Image>(char which, const char* name, auto fill) {
    capnp::MallocMessageBuilder message;
    fill(message.initRoot<Image>());
    corpus.Add("component_image", name, which + Flat(message));
  };
  namespace image = uv::image;
  add.operator()<image::Timers>('\6', "timers", [](image::Timers::Builder root) {
    auto timer = root.initTimers(1)[0];
    timer.setName("t");
    timer.setDeadlineNs(1000);
    timer.setRepeatNs(1000000000);
  });
  add.operator()<image::Files>('\7', "files", [](image::Files::Builder root) {
    auto file = root.initFiles(1)[0];
    file.setName("log");
    file.setPath("/var/log/x");
  });
  add.operator()<image::UdpSockets>('\10', "udp", [](image::UdpSockets::Builder root) {
    auto socket = root.initSockets(1)[0];
    socket.setName("s");
    auto datagram = socket.initQueue(1)[0];
    datagram.setBytes(Data("hello"));
    datagram.setPeer(Data("\2\0\0\65\177\0\0\1\0\0\0\0\0\0\0\0"s));
  });
  add.operator()<image::ChildProcesses>('\11', "children", [](auto root) {
    auto child = root.initChildren(1)[0];
    child.setPid(4711);
    child.setTag(Data("tag"));
  });
  add.operator()<image::Pipes>('\12', "pipes", [](image::Pipes::Builder root) {
    root.setNextId(6);
    auto pipe = root.initPipes(1)[0];
    pipe.setName("in");
    FillStream(pipe.initStream());
  });
  add.operator()<image::StreamServer>('\13', "streams", [](image::StreamServer::Builder root) {
    auto listeners = root.initListeners(2);
    listeners[1].setStopped(true);
    root.setNextId(6);
    root.setLoops(1);
    FillStream(root.initStreams(1)[0]);
  });
}

}  // namespace
}  // namespace liveexec::fuzz

int main(int argc, char** argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: make_corpus FOLDER\n");
    return 2;
  }
  liveexec::fuzz::Corpus corpus(argv[1]);
  liveexec::fuzz::AddImages(corpus);
  liveexec::fuzz::AddManifests(corpus);
  liveexec::fuzz::AddChunks(corpus);
  liveexec::fuzz::AddFrames(corpus);
  liveexec::fuzz::AddTables(corpus);
  liveexec::fuzz::AddNotes(corpus);
  liveexec::fuzz::AddScripts(corpus);
  liveexec::fuzz::AddState(corpus);
  liveexec::fuzz::AddComponents(corpus);
  return 0;
}
