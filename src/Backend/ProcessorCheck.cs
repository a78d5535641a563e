using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>Which processors threads can be bound to.</summary>
internal static class ProcessorCheck
{
    private const int MostProcessors = 1024;

    /// <summary>Those that this process may run on, whatever the calling thread is bound to at present; empty when the kernel does not say.</summary>
    internal static IReadOnlyList<int> Allowed()
    {
        IReadOnlyList<int> allowed = [];
        Thread trial = new(() => allowed = Libc.BindThreadToProcessors([.. Enumerable.Range(0, MostProcessors)]) == 0 ? Libc.AllowedProcessors() : []) { IsBackground = true };
        trial.Start();
        trial.Join();
        return allowed;
    }

    /// <exception cref="ArgumentException">A thread cannot be bound to one of them.</exception>
    internal static void Require(IReadOnlyList<int> processors, string name)
    {
        if (processors.Count == 0 || Allowed() is not { Count: > 0 } allowed || processors.Except(allowed).ToArray() is not [int wrong, ..])
            return;
        throw new ArgumentException($"{name} {string.Join(',', processors)}: this process cannot run on {wrong}, only on {string.Join(',', allowed)}.");
    }
}
