// The server as a whole: what monitoring tools and libraries ask of it, and LIVEEXEC.
#include <unistd.h>

#include <string>

#include "demo-server/commands/families.h"
#include "demo-server/engine/call.h"

namespace liveexec::demo {
namespace {

void Lines(Call& call, absl::Span<const std::string_view> lines) {
  call.reply().Array(lines.size());
  for (std::string_view line : lines) call.reply().Simple(line);
}

void Shutdown(Call& call) {
  bool save = false;
  bool no_save = false;
  bool abort = false;
  for (size_t i = 1; i < call.size(); ++i) {
    save = save || call.Is(i, "save");
    no_save = no_save || call.Is(i, "nosave");
    abort = abort || call.Is(i, "abort");
    // Nobody has to be waited for, and nothing can keep it from ending.
    const bool known = call.Is(i, "save") || call.Is(i, "nosave") || call.Is(i, "abort") ||
                       call.Is(i, "now") || call.Is(i, "force");
    if (!known) return call.SyntaxError();
  }
  if ((save && no_save) || (abort && call.size() > 2)) return call.SyntaxError();
  if (abort) return call.reply().Error("ERR No shutdown in progress.");
  if (save) return call.reply().Error("ERR Errors trying to SHUTDOWN. Check logs.");
  call.engine().host().RequestShutdown();
  call.session().close_after_output = true;
}

void Monitor(Call& call) {
  if (!call.may_block()) {
    return call.reply().Error("ERR MONITOR isn't allowed for DENY BLOCKING client");
  }
  call.session().monitor = true;
  call.reply().Ok();
}

void Role(Call& call) {
  call.reply().Array(3);
  call.reply().Bulk("master");
  call.reply().Integer(0);
  call.reply().Array(0);
}

// Everything is acknowledged by the no replicas that there are.
void Wait(Call& call) {
  int64_t unused = 0;
  int64_t timeout = 0;
  if (!call.Integer(1, &unused)) return;
  if (!call.Integer(2, &timeout, "ERR timeout is not an integer or out of range")) return;
  if (timeout < 0) return call.reply().Error("ERR timeout is negative");
  call.reply().Integer(0);
}

void LastSave(Call& call) { call.reply().Integer(call.engine().statistics().started_ms / 1000); }

void NotPersistent(Call& call) {
  call.reply().Error("ERR this server keeps its data in memory only");
}

// Nothing is slow here.
void SlowlogGet(Call& call) {
  if (call.size() > 3) return call.SubcommandError();
  constexpr std::string_view kNotACount = "ERR count should be greater than or equal to -1";
  int64_t count = 0;
  if (call.size() == 3) {
    if (!call.Integer(2, &count, kNotACount)) return;
    if (count < -1) return call.reply().Error(kNotACount);
  }
  call.reply().Array(0);
}
void ReplyNothing(Call& call) { call.reply().Array(0); }
void SlowlogLen(Call& call) { call.reply().Integer(0); }
void ReplyOk(Call& call) { call.reply().Ok(); }

bool ReadSamples(Call& call) {
  for (size_t i = 3; i < call.size(); i += 2) {
    if (!call.Is(i, "samples") || i + 1 == call.size()) {
      call.SyntaxError();
      return false;
    }
    int64_t samples = 0;
    if (!call.Integer(i + 1, &samples)) return false;
    if (samples < 0) {
      call.SyntaxError();
      return false;
    }
  }
  return true;
}

void MemoryUsage(Call& call) {
  if (!ReadSamples(call)) return;
  const Entry* entry = call.Find(call[2]);
  if (entry == nullptr) return call.reply().Null();
  size_t bytes = sizeof(Entry) + entry->key().size();
  if (const Bytes* text = entry->value.As<Bytes>(); text != nullptr) {
    bytes += text->size();
  } else if (const List* list = entry->value.As<List>(); list != nullptr) {
    for (const Bytes& element : *list) bytes += sizeof(Bytes) + element.size();
  } else if (const Hash* hash = entry->value.As<Hash>(); hash != nullptr) {
    for (const Field* field : hash->fields().nodes()) {
      bytes += sizeof(Field) + field->key().size() + field->value.size();
    }
  } else if (const Set* set = entry->value.As<Set>(); set != nullptr) {
    for (const SetNode* node : set->nodes().nodes()) bytes += sizeof(SetNode) + node->key().size();
  } else if (const SortedSet* sorted = entry->value.As<SortedSet>(); sorted != nullptr) {
    for (const Member* member : sorted->members().nodes()) {
      bytes += sizeof(Member) + member->key().size();
    }
  }
  call.reply().Integer(static_cast<int64_t>(bytes));
}

void ScriptExists(Call& call) {
  call.reply().Array(call.size() - 2);
  for (size_t i = 2; i < call.size(); ++i) call.reply().Integer(0);
}

// SCRIPT FLUSH and FUNCTION FLUSH, of what there is none of.
void FlushNothing(Call& call, std::string_view error) {
  const bool mode = call.size() == 3 && (call.Is(2, "sync") || call.Is(2, "async"));
  if (call.size() != 2 && !mode) return call.reply().Error(error);
  call.reply().Ok();
}

void FunctionList(Call& call) {
  bool with_code = false;
  bool by_name = false;
  for (size_t i = 2; i < call.size(); ++i) {
    if (!with_code && call.Is(i, "withcode")) {
      with_code = true;
    } else if (!by_name && call.Is(i, "libraryname")) {
      by_name = true;
      if (++i == call.size()) return call.reply().Error("ERR library name argument was not given");
    } else {
      return call.reply().Error("ERR Unknown argument " + std::string(call[i]));
    }
  }
  call.reply().Array(0);
}

void ScriptKill(Call& call) { call.reply().Error("NOTBUSY No scripts in execution right now."); }

void ClusterOff(Call& call) {
  call.reply().Error("ERR This instance has cluster support disabled");
}

void ReplicaOf(Call& call) {
  if (!call.Is(1, "no") || !call.Is(2, "one")) {
    return call.reply().Error("ERR this server cannot be a replica");
  }
  call.reply().Ok();
}

void AclWhoAmI(Call& call) { call.reply().Bulk("default"); }

// ---- LIVEEXEC

void LiveexecStatus(Call& call) {
  const ProgramState& program = call.engine().program();
  Reply& reply = call.reply();
  reply.Map(5);
  reply.Bulk("version");
  reply.Bulk(call.engine().options().version);
  reply.Bulk("generation");
  reply.Integer(static_cast<int64_t>(program.generation));
  reply.Bulk("pid");
  reply.Integer(getpid());
  reply.Bulk("executable");
  reply.Bulk(program.executable);
  reply.Bulk("connections");
  reply.Integer(static_cast<int64_t>(call.engine().ClientCount()));
}

void LiveexecHistory(Call& call) {
  const ProgramState& program = call.engine().program();
  call.reply().Array(program.history.size());
  for (const std::string& line : program.history) call.reply().Bulk(line);
}

void LiveexecUpgrade(Call& call) {
  if (call.size() > 3) return call.ArityError();
  call.engine().host().RequestUpgrade(call.size() == 3 ? call[2] : std::string_view());
  call.reply().Simple("Upgrade requested");
}

void LiveexecHelp(Call& call) {
  Lines(call,
        {"LIVEEXEC STATUS: the program that serves.", "LIVEEXEC HISTORY: a line for each upgrade.",
         "LIVEEXEC UPGRADE [path]: asks for an upgrade, and does not wait for it."});
}

constexpr Command kCommands[] = {
    {"shutdown", -1, kAdmin | kNoMulti, 0, 0, 0, Group::kServer, Shutdown, "Stop the server"},
    {"monitor", 1, kAdmin, 0, 0, 0, Group::kServer, Monitor, "Watch all commands"},
    {"role", 1, kFast, 0, 0, 0, Group::kServer, Role, "Role in replication"},
    {"wait", 3, 0, 0, 0, 0, Group::kGeneric, Wait, "Wait for replicas"},
    {"lastsave", 1, kFast, 0, 0, 0, Group::kServer, LastSave, "Time of the last save"},
    {"save", 1, kAdmin, 0, 0, 0, Group::kServer, NotPersistent, "Save to disk"},
    {"bgsave", -1, kAdmin, 0, 0, 0, Group::kServer, NotPersistent, "Save to disk"},
    {"bgrewriteaof", 1, kAdmin, 0, 0, 0, Group::kServer, NotPersistent, "Rewrite the log"},
    {"slowlog", -2, kContainer, 0, 0, 0, Group::kServer, nullptr, "Slow commands"},
    {"slowlog|get", -2, kAdmin, 0, 0, 0, Group::kServer, SlowlogGet, "Slow commands"},
    {"slowlog|len", 2, kAdmin, 0, 0, 0, Group::kServer, SlowlogLen, "Number of slow commands"},
    {"slowlog|reset", 2, kAdmin, 0, 0, 0, Group::kServer, ReplyOk, "Forget slow commands"},
    {"latency", -2, kContainer, 0, 0, 0, Group::kServer, nullptr, "Latency"},
    {"latency|latest", 2, kAdmin, 0, 0, 0, Group::kServer, ReplyNothing, "Latest events"},
    {"latency|reset", -2, kAdmin, 0, 0, 0, Group::kServer, SlowlogLen, "Forget events"},
    {"memory", -2, kContainer, 0, 0, 0, Group::kServer, nullptr, "Memory"},
    {"memory|usage", -3, kReadOnly, 2, 2, 1, Group::kServer, MemoryUsage, "Memory of a key"},
    {"memory|purge", 2, 0, 0, 0, 0, Group::kServer, ReplyOk, "Give memory back"},
    {"cluster", -2, kContainer, 0, 0, 0, Group::kServer, nullptr, "Cluster"},
    {"cluster|info", 2, 0, 0, 0, 0, Group::kServer, ClusterOff, "Cluster state"},
    {"cluster|nodes", 2, 0, 0, 0, 0, Group::kServer, ClusterOff, "Cluster nodes"},
    {"cluster|slots", 2, 0, 0, 0, 0, Group::kServer, ClusterOff, "Cluster slots"},
    {"cluster|shards", 2, 0, 0, 0, 0, Group::kServer, ClusterOff, "Cluster shards"},
    {"cluster|myid", 2, 0, 0, 0, 0, Group::kServer, ClusterOff, "Cluster node"},
    {"readonly", 1, kFast, 0, 0, 0, Group::kServer, ClusterOff, "Read from a replica"},
    {"readwrite", 1, kFast, 0, 0, 0, Group::kServer, ClusterOff, "Do not read from a replica"},
    {"asking", 1, kFast, 0, 0, 0, Group::kServer, ClusterOff, "Follow a redirection"},
    {"replicaof", 3, kAdmin | kNoMulti, 0, 0, 0, Group::kServer, ReplicaOf, "Replicate another"},
    {"slaveof", 3, kAdmin | kNoMulti, 0, 0, 0, Group::kServer, ReplicaOf, "Replicate another"},
    {"acl", -2, kContainer, 0, 0, 0, Group::kServer, nullptr, "Access control"},
    {"acl|whoami", 2, 0, 0, 0, 0, Group::kServer, AclWhoAmI, "User of this connection"},
    // There are neither functions nor scripts.
    {"function", -2, kContainer, 0, 0, 0, Group::kServer, nullptr, "Functions"},
    {"function|flush", -2, kWrite, 0, 0, 0, Group::kServer,
     [](Call& call) {
       if (call.size() > 3) return call.SubcommandError();
       FlushNothing(call, "ERR FUNCTION FLUSH only supports SYNC|ASYNC option");
     },
     "Forget all functions"},
    {"function|list", -2, 0, 0, 0, 0, Group::kServer, FunctionList, "All functions"},
    {"script", -2, kContainer, 0, 0, 0, Group::kServer, nullptr, "Scripts"},
    {"script|flush", -2, 0, 0, 0, 0, Group::kServer,
     [](Call& call) { FlushNothing(call, "ERR SCRIPT FLUSH only support SYNC|ASYNC option"); },
     "Forget all scripts"},
    {"script|exists", -3, 0, 0, 0, 0, Group::kServer, ScriptExists, "Which scripts are known"},
    {"script|kill", 2, 0, 0, 0, 0, Group::kServer, ScriptKill, "Stop the script that runs"},
    {"liveexec", -2, kContainer, 0, 0, 0, Group::kServer, nullptr, "Upgrades of this server"},
    {"liveexec|status", 2, 0, 0, 0, 0, Group::kServer, LiveexecStatus, "The program that serves"},
    {"liveexec|history", 2, 0, 0, 0, 0, Group::kServer, LiveexecHistory, "Upgrades so far"},
    {"liveexec|upgrade", -2, kAdmin, 0, 0, 0, Group::kServer, LiveexecUpgrade,
     "Ask for an upgrade"},
    {"liveexec|help", 2, 0, 0, 0, 0, Group::kServer, LiveexecHelp, "Help"},
};

}  // namespace

absl::Span<const Command> ServerCommands() { return kCommands; }

}  // namespace liveexec::demo
