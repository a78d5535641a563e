using Vhost.Protocol;

namespace Vhost.Proxy;

/// <summary>The rules of one session, and how often each has met its message.</summary>
/// <remarks>Threading: one thread at a time.</remarks>
/// <param name="rules">In the order in which they are applied.</param>
internal sealed class FaultPlan(IReadOnlyList<FaultRule> rules)
{
    private readonly int[] _met = new int[rules.Count];

    /// <summary>Those that a message meets.</summary>
    internal List<FaultRule> Take(VhostUserChannel channel, in VhostUserHeader header)
    {
        List<FaultRule> taken = [];
        for (int i = 0; i < rules.Count; i++)
        {
            FaultRule rule = rules[i];
            bool meets = rule.Channel == channel && rule.IsReply == header.IsReply && (rule.Request is not { } request || request == header.Request);
            if (meets && (++_met[i] == rule.Occurrence || rule.Occurrence == 0))
                taken.Add(rule);
        }

        return taken;
    }
}
