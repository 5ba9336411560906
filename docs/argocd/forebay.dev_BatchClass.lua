-- Health of a BatchClass: Healthy when the operator accepts it.
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
local accepted = condition("Accepted")
if accepted.status == "False" then return health("Degraded", accepted.message) end
if accepted.status == "True" then return health("Healthy", accepted.message) end
return health("Progressing", "waiting for the operator")
