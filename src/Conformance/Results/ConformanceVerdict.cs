namespace Vhost.Conformance;

/// <summary>What a case found. The words are those that testers of guests' devices use already.</summary>
public enum ConformanceVerdict
{
    /// <summary>The peer did what the case asks for.</summary>
    Pass,

    /// <summary>The peer refused what was said, in a way that the specification allows: by a negative answer, by ignoring it or by ending the connection.</summary>
    Reject,

    /// <summary>The peer broke the rule, or it is dead.</summary>
    Fail,

    /// <summary>The peer lives but no longer serves.</summary>
    Wedged,

    /// <summary>The case does not concern this peer; <see cref="ConformanceResult.Reason"/> says why.</summary>
    Skip,
}
