#include "demo-server/engine/pops.h"

#include <algorithm>
#include <new>
#include <utility>

namespace liveexec::demo {
namespace {

void Finish(Engine& engine, int database, std::string_view key, Entry* entry) {
  if (entry->value.Empty()) engine.Erase(database, entry);
  engine.Modified(database, key);
}

void PopOne(Engine& engine, int database, std::string_view key, Entry* entry, bool front,
            Reply& reply) {
  reply.Array(2);
  reply.Bulk(key);
  reply.Bulk(PopElement(*entry->value.As<List>(), front));
  Finish(engine, database, key, entry);
}

void PopMany(Engine& engine, int database, std::string_view key, Entry* entry,
             const Blocked& operation, Reply& reply) {
  List& list = *entry->value.As<List>();
  const size_t count = std::min(static_cast<size_t>(operation.count), list.size());
  reply.Array(2);
  reply.Bulk(key);
  reply.Array(count);
  for (size_t i = 0; i < count; ++i) reply.Bulk(PopElement(list, operation.from_front));
  Finish(engine, database, key, entry);
}

// std::bad_alloc leaves `element` as it is.
void Push(List& list, Bytes&& element, bool front) {
  if (front) {
    list.push_front(std::move(element));
  } else {
    list.push_back(std::move(element));
  }
}

void Move(Engine& engine, int database, std::string_view key, Entry* entry,
          const Blocked& operation, Reply& reply) {
  Entry* destination = engine.Find(database, operation.destination);
  if (destination != nullptr && destination->value.type() != Type::kList) {
    reply.Error(kWrongType);
    return;
  }
  if (destination == nullptr) {
    destination = engine.Insert(database, operation.destination,
                                Value(Type::kList, engine.keyspace().seed()));
  }
  List& source = *entry->value.As<List>();
  List& list = *destination->value.As<List>();
  Bytes element = PopElement(source, operation.from_front);
  reply.Bulk(element);
  try {
    Push(list, std::move(element), operation.to_front);
  } catch (const std::bad_alloc&) {
    // Where it was there is room for it.
    Push(source, std::move(element), operation.from_front);
    if (list.empty()) engine.Erase(database, destination);
    throw;
  }
  engine.Modified(database, operation.destination);
  Finish(engine, database, key, entry);
}

void PopScores(Engine& engine, int database, std::string_view key, Entry* entry,
               const Blocked& operation, Reply& reply) {
  SortedSet& set = *entry->value.As<SortedSet>();
  const bool many = operation.operation == BlockingOperation::kScorePopMany;
  const size_t count = many ? std::min(static_cast<size_t>(operation.count), set.size()) : 1;
  const size_t first = operation.from_front ? 0 : set.size() - 1;
  reply.Array(many ? 2 : 3);
  reply.Bulk(key);
  if (many) reply.Array(count);
  set.index().ForRange(first, count, !operation.from_front, [&](const Member* member) {
    if (many) reply.Array(2);
    reply.Bulk(member->key());
    reply.Double(member->score);
  });
  set.EraseRange(operation.from_front ? 0 : set.size() - count, count);
  Finish(engine, database, key, entry);
}

}  // namespace

Bytes PopElement(List& list, bool front) {
  Bytes element;
  if (front) {
    element = std::move(list.front());
    list.pop_front();
  } else {
    element = std::move(list.back());
    list.pop_back();
  }
  return element;
}

PopResult Pop(Engine& engine, int database, std::string_view key, const Blocked& operation,
              Reply& reply) {
  const bool scores = operation.operation == BlockingOperation::kScorePop ||
                      operation.operation == BlockingOperation::kScorePopMany;
  Entry* entry = engine.Find(database, key);
  if (entry == nullptr) return PopResult::kNothing;
  if (entry->value.type() != (scores ? Type::kSortedSet : Type::kList)) {
    return PopResult::kMismatch;
  }
  switch (operation.operation) {
    case BlockingOperation::kNone:
      return PopResult::kNothing;
    case BlockingOperation::kListPop:
      PopOne(engine, database, key, entry, operation.from_front, reply);
      break;
    case BlockingOperation::kListMove:
      Move(engine, database, key, entry, operation, reply);
      break;
    case BlockingOperation::kListPopMany:
      PopMany(engine, database, key, entry, operation, reply);
      break;
    case BlockingOperation::kScorePop:
    case BlockingOperation::kScorePopMany:
      PopScores(engine, database, key, entry, operation, reply);
      break;
  }
  return PopResult::kDone;
}

}  // namespace liveexec::demo
