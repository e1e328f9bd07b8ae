// CLIENT TRACKING and what belongs to it.
#include <string>
#include <utility>
#include <vector>

#include "demo-server/commands/families.h"
#include "demo-server/engine/call.h"

namespace liveexec::demo {
namespace {

constexpr std::string_view kOtherOptMode =
    "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then "
    "re-enabling it with a different mode.";

bool ReadRedirect(Call& call, size_t i, ClientTracking* wanted) {
  if (wanted->redirect != 0) {
    call.reply().Error("ERR A client can only redirect to a single other client");
    return false;
  }
  int64_t id = 0;
  if (!call.Integer(i, &id, "ERR Invalid client ID")) return false;
  wanted->redirect = static_cast<uint64_t>(id);
  if (call.engine().sessions().contains(wanted->redirect)) return true;
  call.reply().Error("ERR The client ID you want redirect to does not exist");
  return false;
}

bool ReadTrackingOptions(Call& call, ClientTracking* wanted) {
  for (size_t i = 3; i < call.size(); ++i) {
    const bool more = i + 1 < call.size();
    if (call.Is(i, "redirect") && more) {
      if (!ReadRedirect(call, ++i, wanted)) return false;
    } else if (call.Is(i, "bcast")) {
      wanted->broadcast = true;
    } else if (call.Is(i, "optin")) {
      wanted->opt_in = true;
    } else if (call.Is(i, "optout")) {
      wanted->opt_out = true;
    } else if (call.Is(i, "noloop")) {
      wanted->no_loop = true;
    } else if (call.Is(i, "prefix") && more) {
      wanted->prefixes.emplace_back(call[++i]);
    } else {
      call.SyntaxError();
      return false;
    }
  }
  return true;
}

// What is wrong with going from `current` to `wanted`, or "".
std::string_view Objection(const ClientTracking& current, const ClientTracking& wanted) {
  if (!wanted.broadcast && !wanted.prefixes.empty()) {
    return "ERR PREFIX option requires BCAST mode to be enabled";
  }
  if (current.on && current.broadcast != wanted.broadcast) {
    return "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and "
           "then re-enabling it with a different mode.";
  }
  if (wanted.broadcast && (wanted.opt_in || wanted.opt_out)) {
    return "ERR OPTIN and OPTOUT are not compatible with BCAST";
  }
  if (wanted.opt_in && wanted.opt_out) {
    return "ERR You can't specify both OPTIN mode and OPTOUT mode";
  }
  if ((wanted.opt_in && current.opt_out) || (wanted.opt_out && current.opt_in)) {
    return kOtherOptMode;
  }
  return "";
}

// Prefixes of one client must not contain one another. False after an error reply.
bool AreDisjoint(Call& call, const ClientTracking& current, const ClientTracking& wanted) {
  auto overlap = [](std::string_view a, std::string_view b) {
    return a.starts_with(b) || b.starts_with(a);
  };
  for (size_t i = 0; i < wanted.prefixes.size(); ++i) {
    const std::string& prefix = wanted.prefixes[i];
    for (const std::string& other : current.prefixes) {
      if (prefix == other || !overlap(prefix, other)) continue;
      call.reply().Error("ERR Prefix '" + prefix + "' overlaps with an existing prefix '" + other +
                         "'. Prefixes for a single client must not overlap.");
      return false;
    }
    for (size_t j = i + 1; j < wanted.prefixes.size(); ++j) {
      if (!overlap(prefix, wanted.prefixes[j])) continue;
      call.reply().Error("ERR Prefix '" + prefix + "' overlaps with another provided prefix '" +
                         wanted.prefixes[j] + "'. Prefixes for a single client must not overlap.");
      return false;
    }
  }
  return true;
}

void SetTracking(Call& call) {
  Session& session = call.session();
  ClientTracking wanted;
  if (!ReadTrackingOptions(call, &wanted)) return;
  const bool on = call.Is(2, "on");
  if (!on && !call.Is(2, "off")) return call.SyntaxError();
  if (!on) {
    call.engine().tracking().Stop(session);
    return call.reply().Ok();
  }
  ClientTracking& current = session.tracking;
  if (const std::string_view error = Objection(current, wanted); !error.empty()) {
    return call.reply().Error(error);
  }
  if (!AreDisjoint(call, current, wanted)) return;
  wanted.on = true;
  wanted.keys = std::move(current.keys);
  for (std::string& prefix : current.prefixes) wanted.prefixes.push_back(std::move(prefix));
  current = std::move(wanted);
  call.engine().tracking().Start(session);
  call.reply().Ok();
}

void SetHint(Call& call) {
  ClientTracking& tracking = call.session().tracking;
  if (!tracking.on || (!tracking.opt_in && !tracking.opt_out)) {
    return call.reply().Error(
        "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or "
        "OPTOUT mode enabled");
  }
  if (call.Is(2, "yes")) {
    if (!tracking.opt_in) {
      return call.reply().Error(
          "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.");
    }
    tracking.hint = CachingHint::kYes;
  } else if (call.Is(2, "no")) {
    if (!tracking.opt_out) {
      return call.reply().Error(
          "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.");
    }
    tracking.hint = CachingHint::kNo;
  } else {
    return call.SyntaxError();
  }
  call.reply().Ok();
}

int64_t RedirectOf(const ClientTracking& tracking) {
  return tracking.on ? static_cast<int64_t>(tracking.redirect) : -1;
}

void GetRedirect(Call& call) { call.reply().Integer(RedirectOf(call.session().tracking)); }

void TrackingInfo(Call& call) {
  const ClientTracking& tracking = call.session().tracking;
  std::vector<std::string_view> flags = {tracking.on ? "on" : "off"};
  if (tracking.broadcast) flags.emplace_back("bcast");
  if (tracking.opt_in) flags.emplace_back("optin");
  if (tracking.hint == CachingHint::kYes) flags.emplace_back("caching-yes");
  if (tracking.opt_out) flags.emplace_back("optout");
  if (tracking.hint == CachingHint::kNo) flags.emplace_back("caching-no");
  if (tracking.no_loop) flags.emplace_back("noloop");
  if (tracking.broken_redirect) flags.emplace_back("broken_redirect");
  Reply& reply = call.reply();
  reply.Map(3);
  reply.Bulk("flags");
  reply.Set(flags.size());
  for (std::string_view flag : flags) reply.Bulk(flag);
  reply.Bulk("redirect");
  reply.Integer(RedirectOf(tracking));
  reply.Bulk("prefixes");
  reply.Array(tracking.prefixes.size());
  for (const std::string& prefix : tracking.prefixes) reply.Bulk(prefix);
}

constexpr Command kCommands[] = {
    {"client|tracking", -3, 0, 0, 0, 0, Group::kConnection, SetTracking,
     "Be told which keys change"},
    {"client|caching", 3, 0, 0, 0, 0, Group::kConnection, SetHint,
     "Whether the keys of the next command are tracked"},
    {"client|getredir", 2, 0, 0, 0, 0, Group::kConnection, GetRedirect, "Tracking redirection"},
    {"client|trackinginfo", 2, 0, 0, 0, 0, Group::kConnection, TrackingInfo, "Tracking state"},
};

}  // namespace

absl::Span<const Command> TrackingCommands() { return kCommands; }

}  // namespace liveexec::demo
