-- What scripts see and cannot change. It is run once, with the native functions and the numbers that Redis has names for; it
-- gives back what the server calls. Scripts see proxies: what they write is refused, what they read is looked up behind them.
local native, constants = ...
local G = _G
local error, type, tostring, select, pairs = error, type, tostring, select, pairs
local rawget, rawset, getmetatable, setmetatable, setfenv = rawget, rawset, getmetatable, setmetatable, setfenv
local pcall, xpcall, loadstring, concat, byte = pcall, xpcall, loadstring, table.concat, string.byte

local READONLY = "Attempt to modify a readonly table"
local protected = setmetatable({}, { __mode = "k" })

local function refuse()
  error(READONLY, 2)
end

local function protect(behind)
  local proxy = setmetatable({}, { __index = behind, __newindex = refuse, __metatable = false })
  protected[proxy] = true
  return proxy
end

-- redis.*

local redis = native.redis
for name, value in pairs(constants) do
  redis[name] = value
end

function redis.replicate_commands()
  return true
end

function redis.breakpoint()
  return false
end

function redis.debug()
end

local function single(name, ...)
  if select("#", ...) ~= 1 or type(...) ~= "string" then
    return { err = "ERR wrong number or type of arguments" }
  end
  return { [name] = (...) }
end

function redis.status_reply(...)
  return single("ok", ...)
end

function redis.error_reply(...)
  local reply = single("err", ...)
  if select("#", ...) == 1 and type(...) == "string" then
    reply.err = native.error_text(...)
  end
  return reply
end

-- What functions of the server raise becomes what scripts may look at.

local function seen(ok, ...)
  if ok then
    return ok, ...
  end
  return ok, native.unwrapped(...)
end

local function told(ok, ...)
  if ok then
    return ok, ...
  end
  local err = native.unwrapped(...)
  local text = type(err) == "table" and rawget(err, "err")
  return ok, type(text) == "string" and text or err
end

function G.pcall(...)
  return told(pcall(...))
end

-- A handler is not asked while a script is being stopped: Lua would run it without looking whether to stop.
function G.xpcall(f, handler)
  return xpcall(f, function(err)
    if native.is_ending() then
      return err
    end
    return handler(native.unwrapped(err))
  end)
end

-- Lua counts instructions for each coroutine by itself, so whether to stop is asked at each resumption as well.
local resume, wrap = coroutine.resume, coroutine.wrap
function coroutine.resume(...)
  native.look_around()
  return seen(resume(...))
end

function coroutine.wrap(f)
  local resumed = wrap(f)
  return function(...)
    native.look_around()
    return resumed(...)
  end
end

-- These write past metatables.
for _, name in pairs({ "insert", "remove", "sort" }) do
  local write = table[name]
  table[name] = function(...)
    if select("#", ...) > 0 and protected[...] then
      error(READONLY, 2)
    end
    return write(...)
  end
end

-- The libraries that are left of Lua's own, and those that Redis adds.

G.os = { clock = G.os.clock }
G.math.random, G.math.randomseed = native.random, native.randomseed
G.cjson = native.cjson
G.cjson.new = native.new_cjson
G.cmsgpack = native.cmsgpack
G.cmsgpack._NAME, G.cmsgpack._VERSION = "cmsgpack", "lua-cmsgpack 0.4.0"
G.struct = native.struct
G.bit = native.bit
G.redis = protect(redis)
G.server = G.redis
getmetatable("").__metatable = false
for _, name in pairs({ "string", "table", "math", "os", "coroutine", "cjson", "cmsgpack", "struct", "bit" }) do
  G[name] = protect(G[name])
end
for _, name in pairs({ "dofile", "loadfile", "print", "newproxy", "getfenv", "setfenv" }) do
  G[name] = nil
end

local function missing(_, name)
  error("Script attempted to access nonexistent global variable '" .. tostring(name) .. "'", 2)
end

local environment = protect(G)

-- While a library is loaded it sees nothing but a redis.* of its own, with which it registers its functions.
local while_loading = { log = redis.log, register_function = native.register }
for name, value in pairs(constants) do
  while_loading[name] = value
end
setmetatable(while_loading, { __index = missing })
local only_redis = setmetatable({ redis = protect(while_loading) }, { __index = missing })
only_redis.server = only_redis.redis
local of_library = { __index = G, __newindex = refuse, __metatable = false }
local library_environment = setmetatable({}, of_library)
protected[library_environment] = true
local empty = protect({})

G._G = environment

function G.rawset(t, key, value)
  if protected[t] then
    error(READONLY, 0)
  end
  return rawset(t, key, value)
end

function G.setmetatable(t, metatable)
  if protected[t] then
    error(READONLY, 0)
  end
  return setmetatable(t, metatable)
end

function G.getmetatable(...)
  if select("#", ...) > 0 and protected[...] then
    local is_world = (...) == environment or (...) == library_environment
    return is_world and empty or nil
  end
  return getmetatable(...)
end

-- Compiled chunks are not checked by Lua, so only text is taken.
function G.loadstring(text, name)
  if type(text) == "string" and byte(text) == 27 then
    return nil, "attempt to load a binary chunk"
  end
  local f, why = loadstring(text, name)
  if f then
    setfenv(f, environment)
  end
  return f, why
end

function G.load(pieces, name)
  if type(pieces) ~= "function" then
    error("bad argument #1 to 'load' (function expected, got " .. type(pieces) .. ")", 2)
  end
  local text = {}
  repeat
    local piece = pieces()
    text[#text + 1] = piece
  until piece == nil or piece == ""
  return G.loadstring(concat(text), name or "=(load)")
end

setmetatable(G, { __index = missing, __metatable = false })

-- What the server calls.

local function explain(err)
  local source, line = native.position()
  err = native.unwrapped(err)
  if type(err) ~= "table" then
    err = { err = "ERR " .. tostring(err) }
  end
  if source and protected[err] == nil then
    rawset(err, "source", source)
    rawset(err, "line", line)
  end
  return err
end

return {
  environment = environment,
  library_environment = library_environment,
  run = function(f)
    return xpcall(f, explain)
  end,
  run_function = function(f, keys, arguments)
    return xpcall(function()
      return f(keys, arguments)
    end, explain)
  end,
  load_library = function(f)
    of_library.__index = only_redis
    local ok, err = xpcall(f, explain)
    of_library.__index = G
    return ok, err
  end,
}
