-- Health of an InferencePool: Healthy when its replicas answer or none is wanted, Suspended while it is paused on purpose.
local function condition(type)
  for _, c in ipairs((obj.status or {}).conditions or {}) do
    if c.type == type then return c end
  end
  return {}
end

local function health(status, message)
  return {status = status, message = message or ""}
end

local observed = (obj.status or {}).observedGeneration
if observed == nil or observed < (obj.metadata.generation or 0) then
  return health("Progressing", "waiting for the operator to look at this generation")
end
for _, type in ipairs({"Accepted", "ResolvedRefs"}) do
  local c = condition(type)
  if c.status == "False" then return health("Degraded", c.message) end
end
local paused = condition("Paused")
if paused.status == "True" then return health("Suspended", paused.message) end
local ready = condition("Ready")
if ready.status == "True" then return health("Healthy", ready.message) end
return health("Progressing", ready.message or "waiting for replicas")
