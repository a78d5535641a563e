namespace Vhost.Tool;

/// <summary>How <c>vhost-user test</c> and <c>test-frontend</c> end, beside 2 for a command line that makes no sense. Where several fit, docs/conformance/README.md says which it is.</summary>
internal static class TestExitCode
{
    internal const int Success = 0;

    /// <summary>A case failed or found the peer wedged, or the run did not come to its end.</summary>
    internal const int Failure = 1;

    /// <summary>Every case was skipped.</summary>
    internal const int NothingJudged = 3;

    /// <summary>A verdict or a severity is not that of the baseline.</summary>
    internal const int Differs = 4;

    /// <summary>What a shell says of a program that Ctrl-C has ended.</summary>
    internal const int Stopped = 130;
}
