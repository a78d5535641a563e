namespace Vhost.Backend.Hosting;

/// <summary>
/// What the process says when it ends. A host stops in good order also when a back-end cannot go on, so without this the exit code would be 0, and a supervisor would take that for the end of a job that is done.
/// </summary>
/// <param name="setCode">Takes the exit code.</param>
internal sealed class HostExit(Action<int> setCode)
{
    private const int Failure = 1;

    /// <summary>That of this process; a code that the program has set already stays.</summary>
    internal static HostExit OfProcess { get; } = new(static code =>
    {
        if (Environment.ExitCode == 0)
            Environment.ExitCode = code;
    });

    internal void Fail() => setCode(Failure);
}
