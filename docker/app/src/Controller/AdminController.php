<?php

namespace App\Controller;

use App\Entity\Post;
use App\Form\PostType;
use App\Repository\PostRepository;
use Symfony\Bundle\FrameworkBundle\Controller\AbstractController;
use Symfony\Component\HttpFoundation\Request;
use Symfony\Component\HttpFoundation\Response;
use Symfony\Component\Routing\Annotation\Route;

/** Every address here is for ROLE_ADMIN: `access_control` in config/packages.php. */
#[Route('/admin/posts', name: 'admin_')]
final class AdminController extends AbstractController
{
    public function __construct(private PostRepository $posts)
    {
    }

    #[Route('', name: 'posts', methods: ['GET'])]
    public function index(Request $request): Response
    {
        $page = $this->posts->page($request->query->getInt('page', 1))
            ?? throw $this->createNotFoundException('There is no such page of posts.');

        return $this->render('admin/index.html.twig', ['page' => $page]);
    }

    #[Route('/new', name: 'new', methods: ['GET', 'POST'])]
    public function new(Request $request): Response
    {
        $form = $this->createForm(PostType::class)->handleRequest($request);
        if (!$form->isSubmitted() || !$form->isValid()) {
            return $this->renderForm('admin/new.html.twig', ['form' => $form]);
        }
        $post = $this->posts->add($this->getUser(), ...$form->getData());

        return $this->done('“%s” is published.', $post);
    }

    #[Route('/{id<\d+>}/edit', name: 'edit', methods: ['GET', 'POST'])]
    public function edit(int $id, Request $request): Response
    {
        $post = $this->post($id);
        $form = $this->createForm(PostType::class, [
            'title' => $post->getTitle(),
            'summary' => $post->getSummary(),
            'content' => $post->getContent(),
            'tags' => $post->getTagNames(),
        ])->handleRequest($request);
        if (!$form->isSubmitted() || !$form->isValid()) {
            return $this->renderForm('admin/edit.html.twig', ['form' => $form, 'post' => $post]);
        }
        $this->posts->change($post, ...$form->getData());

        return $this->done('“%s” is saved.', $post);
    }

    #[Route('/{id<\d+>}/delete', name: 'delete', methods: ['POST'])]
    public function delete(int $id, Request $request): Response
    {
        $token = $request->request->get('_token');
        if (!\is_string($token) || !$this->isCsrfTokenValid("delete-post-$id", $token)) {
            throw $this->createAccessDeniedException('The form is too old, or not from this site.');
        }
        $post = $this->post($id);
        $this->posts->remove($post);

        return $this->done('“%s” is deleted.', $post);
    }

    private function post(int $id): Post
    {
        return $this->posts->find($id) ?? throw $this->createNotFoundException('There is no such post.');
    }

    private function done(string $what, Post $post): Response
    {
        $this->addFlash('notice', sprintf($what, $post->getTitle()));

        return $this->redirectToRoute('admin_posts', [], Response::HTTP_SEE_OTHER);
    }
}
