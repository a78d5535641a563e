using Vhost.Protocol;

namespace Vhost.Proxy;

/// <summary>How a message goes on when rules have met it.</summary>
internal readonly record struct FaultedDelivery
{
    /// <summary>How often it is sent.</summary>
    internal int Times { get; init; }

    internal TimeSpan Delay { get; private init; }

    /// <summary>It waits for the next one to be sent.</summary>
    internal bool IsBehindNext { get; private init; }

    /// <summary>Bytes after which everything ends; null: it is sent whole.</summary>
    internal int? Cut { get; private init; }

    /// <summary>Both connections are closed behind it.</summary>
    internal bool Ends { get; private init; }

    /// <summary>Changes the message as the rules say, one after the other.</summary>
    internal static FaultedDelivery Apply(IReadOnlyList<FaultRule> rules, PassingMessage message)
    {
        FaultedDelivery delivery = new() { Times = 1 };
        foreach (FaultRule rule in rules)
            delivery = delivery.With(rule, message);
        return delivery;
    }

    private FaultedDelivery With(FaultRule rule, PassingMessage message)
    {
        switch (rule.Action)
        {
            case FaultAction.Drop:
                return this with { Times = 0, Cut = null, Ends = false };
            case FaultAction.Delay:
                return this with { Delay = Delay + TimeSpan.FromMilliseconds(rule.Value) };
            case FaultAction.Duplicate:
                return this with { Times = 2 * Times };
            case FaultAction.Reorder:
                return this with { IsBehindNext = true };
            case FaultAction.Cut:
                return this with { Cut = (int)rule.Value, Ends = true };
            case FaultAction.Close:
                return this with { Times = 0, Ends = true };
            default:
                Change(rule, message);
                return this;
        }
    }

    private static void Change(FaultRule rule, PassingMessage message)
    {
        switch (rule.Action)
        {
            case FaultAction.Set:
                byte[] changed = message.Payload.ToArray(); // what came is shown as it came
                Span<byte> behind = changed.AsSpan(Math.Min(rule.Offset, changed.Length));
                rule.Bytes.Span[..Math.Min(rule.Bytes.Length, behind.Length)].CopyTo(behind);
                message.Payload = changed;
                break;
            case FaultAction.Request:
                message.Header = message.Header with { Request = rule.Value };
                break;
            case FaultAction.Flags:
                message.Header = message.Header with { Flags = (VhostUserHeaderFlags)rule.Value };
                break;
            case FaultAction.Size:
                message.Header = message.Header with { PayloadSize = rule.Value };
                break;
            case FaultAction.Resize:
                byte[] resized = new byte[rule.Value];
                message.Payload.Span[..Math.Min(message.Payload.Length, resized.Length)].CopyTo(resized);
                (message.Payload, message.Header) = (resized, message.Header with { PayloadSize = rule.Value });
                break;
            case FaultAction.TakeDescriptors:
                message.TakeDescriptors();
                break;
            case FaultAction.AddDescriptors:
                message.AddDescriptors(rule.Value);
                break;
            default:
                throw new ArgumentOutOfRangeException(nameof(rule), rule.Action, "not a change of the message itself");
        }
    }
}
