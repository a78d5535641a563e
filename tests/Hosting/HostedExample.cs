using Vhost.Tests.Support;

namespace Vhost.Hosting.Tests;

/// <summary>The built example HostedBlock.</summary>
internal static class HostedExample
{
    internal static string Assembly => Path.Combine(Folder, "HostedBlock.dll");

    private static string Folder => RepositoryRoot.File("examples", "HostedBlock", "bin", new DirectoryInfo(AppContext.BaseDirectory).Parent!.Name, "net10.0");

    /// <summary>Copies the example and gives it other settings.</summary>
    /// <param name="folder">Where to.</param>
    /// <param name="settings">Its appsettings.json.</param>
    /// <returns>The program.</returns>
    internal static string CopyTo(string folder, string settings)
    {
        foreach (string file in Directory.EnumerateFiles(Folder))
            File.Copy(file, Path.Combine(folder, Path.GetFileName(file)));
        File.WriteAllText(Path.Combine(folder, "appsettings.json"), settings);
        return Path.Combine(folder, Path.GetFileName(Assembly));
    }
}
